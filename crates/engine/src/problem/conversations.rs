//! The user's conversations and pairs: read, and refused where the model cannot read them whole.

use std::path::Path;

use stepwell_env::demonstrations;
use stepwell_train::{Codec, Learner};
use stepwell_tree::{Credit, StepTree};

use super::{Problem, input};
use crate::conversation::{comparison_tree, conversation_tree};
use crate::error::EngineError;
use crate::order::demonstration_tree;
use crate::recipe::{PairFile, Sft, Supervision, Turns};

/// Conversations as trees, with the credit that trains what their file marks.
pub(crate) type Told = Vec<One>;

type One = (StepTree, Credit);

impl Problem {
    /// The conversations of the file that a stage names; none where it names no file.
    ///
    /// # Errors
    /// Where the file is missing, a line is wrong, or the template cannot write it.
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
        let loaded = demonstrations::load(Path::new(path)).map_err(input)?;
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

    /// Refuses conversations that the model cannot read whole.
    pub(super) fn require_conversations_fit(
        &self,
        index: usize,
        sft: &Sft,
        learner: &Learner,
    ) -> Result<(), EngineError> {
        let context = learner.model().config().context;
        let told = self.told(&Supervision::of(sft), learner.codec())?;
        let tokens = |tree: &StepTree| tree.span.iter().map(|span| span.len()).sum::<usize>();
        let long: Vec<(usize, usize)> = told
            .iter()
            .map(|(line, (tree, _))| (*line, tokens(tree)))
            .filter(|(_, tokens)| *tokens > context)
            .collect();
        let (Some((line, tokens)), Some(path)) = (long.first(), &sft.data) else { return Ok(()) };
        Err(EngineError::Input(format!(
            "stage[{index}].sft: {path}:{line}: the conversation has {tokens} tokens, expected at \
             most the model's context: {context}; {} of {} are too long; shorten them or take a \
             model with a longer context",
            long.len(),
            told.len()
        )))
    }

    /// Refuses pairs that the model cannot read whole.
    pub(super) fn require_pairs_fit(
        &self,
        index: usize,
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
            "stage[{index}].preference: {}:{line}: prompt and answer have {tokens} tokens, expected \
             at most the model's context: {context}; {} of {} pairs are too long; shorten them or \
             take a model with a longer context",
            file.path,
            long.len(),
            loaded.pairs.len()
        )))
    }
}
