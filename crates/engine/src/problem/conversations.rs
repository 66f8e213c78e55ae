//! The user's conversations and pairs: read, and refused where the model cannot read them whole.

use std::path::{Path, PathBuf};

use stepwell_env::demonstrations;
use stepwell_train::{Codec, Learner};
use stepwell_tree::{Credit, StepTree, Task};

use super::{Problem, input};
use crate::conversation::{comparison_tree, conversation_task, conversation_tree};
use crate::error::EngineError;
use crate::order::demonstration_tree;
use crate::recipe::{PairFile, Stage, Supervision, Turns};

/// Conversations as trees, with the credit that trains what their file marks.
pub(crate) type Told = Vec<One>;

type One = (StepTree, Credit);

/// The kind of a stage that may train on demonstrations, and its keys of them.
pub(super) fn supervision(stage: &Stage) -> Option<(&'static str, Supervision)> {
    match stage {
        Stage::Sft(sft) => Some(("sft", Supervision::of(sft))),
        Stage::Rl(rl) => Some(("rl", rl.supervision.clone())),
        _ => None,
    }
}

impl Problem {
    /// Reads the file of conversations that a stage names, if it names one.
    pub(super) fn read_conversations(&mut self, stage: &Stage) -> Result<(), EngineError> {
        let Some(path) = supervision(stage).and_then(|(_, keys)| keys.data) else { return Ok(()) };
        if !self.shown.contains_key(&path) {
            let loaded = demonstrations::load(Path::new(&path)).map_err(input)?;
            self.watched.push((PathBuf::from(&path), loaded.digest));
            self.shown.insert(path, loaded);
        }
        Ok(())
    }

    /// The conversations of a stage's file as the record knows them; `None` where it names none.
    pub(crate) fn shown(&self, stage: &Stage) -> Option<Vec<Task>> {
        let path = supervision(stage)?.1.data?;
        Some(self.shown[&path].conversations.iter().map(conversation_task).collect())
    }

    /// The conversations of the file that a stage names; none where it names no file.
    ///
    /// # Errors
    /// Where the template cannot write one.
    pub(crate) fn conversations(
        &self,
        keys: &Supervision,
        codec: &Codec,
    ) -> Result<Told, EngineError> {
        Ok(self.told(keys, codec)?.into_iter().map(|(_, tree)| tree).collect())
    }

    /// The same, each with its line.
    fn told(&self, keys: &Supervision, codec: &Codec) -> Result<Vec<(usize, One)>, EngineError> {
        let Some(path) = &keys.data else { return Ok(Vec::new()) };
        let loaded = &self.shown[path];
        let tree = |(told, line): (&demonstrations::Conversation, &usize)| {
            let tree = match keys.turns {
                Turns::Inline => demonstration_tree(codec, &told.inline(), keys.mask_observations),
                Turns::Template => conversation_tree(codec, told, keys.mask_observations)
                    .map_err(|error| EngineError::Input(format!("{path}:{line}: {error}")))?,
            };
            Ok((*line, tree))
        };
        loaded.conversations.iter().zip(&loaded.line).map(tree).collect()
    }

    /// Refuses conversations that the model cannot read whole; `name` is the stage's kind.
    pub(super) fn require_conversations_fit(
        &self,
        (index, name): (usize, &str),
        keys: &Supervision,
        learner: &Learner,
    ) -> Result<(), EngineError> {
        let context = learner.model().config().context;
        let told = self.told(keys, learner.codec())?;
        let tokens = |tree: &StepTree| tree.span.iter().map(|span| span.len()).sum::<usize>();
        let long: Vec<(usize, usize)> = told
            .iter()
            .map(|(line, (tree, _))| (*line, tokens(tree)))
            .filter(|(_, tokens)| *tokens > context)
            .collect();
        let (Some((line, tokens)), Some(path)) = (long.first(), &keys.data) else { return Ok(()) };
        Err(EngineError::Input(format!(
            "stage[{index}].{name}: {path}:{line}: the conversation has {tokens} tokens, expected at \
             most the model's context: {context}; {} of {} are too long; shorten them or take a \
             model with a longer context",
            long.len(),
            told.len()
        )))
    }

    /// Refuses pairs that the model cannot read whole.
    pub(super) fn require_pairs_fit(
        &self,
        (index, name): (usize, &str),
        file: &PairFile,
        learner: &Learner,
    ) -> Result<(), EngineError> {
        let context = learner.model().config().context;
        let loaded = &self.pairs[&file.path];
        let end = file.end(learner.codec());
        let mut long = Vec::new();
        for (pair, line) in loaded.pairs.iter().zip(&loaded.line) {
            let tree = comparison_tree(learner.codec(), pair, end)
                .map_err(|error| EngineError::Input(format!("{}:{line}: {error}", file.path)))?;
            let [prompt, chosen, rejected] = [0, 1, 2].map(|i| tree.span[i].len());
            if prompt == 0 || chosen == 0 || rejected == 0 {
                return Err(EngineError::Input(format!(
                    "{}:{line}: prompt and answers must have a token each, got: {prompt}, \
                     {chosen} and {rejected}; the model's tokenizer knows none of their words",
                    file.path
                )));
            }
            let tokens = prompt + chosen.max(rejected);
            if tokens > context {
                long.push((*line, tokens));
            }
        }
        let Some((line, tokens)) = long.first() else { return Ok(()) };
        Err(EngineError::Input(format!(
            "stage[{index}].{name}: {}:{line}: prompt and answer have {tokens} tokens, expected at \
             most the model's context: {context}; {} of {} pairs are too long; shorten them or \
             take a model with a longer context",
            file.path,
            long.len(),
            loaded.pairs.len()
        )))
    }
}
