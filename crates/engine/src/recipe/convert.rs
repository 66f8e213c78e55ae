//! A recipe's tables as the crates that act on them want them.

use std::time::Duration;

use stepwell_env::calculator;
use stepwell_env::external;
use stepwell_env::math_answer;
use stepwell_env::python;
use stepwell_env::sql;
use stepwell_env::sql::config as judge;
use stepwell_env::sql::world::{TraceMix, WorldConfig};

use super::calculator::{Calculator, CalculatorMix, CalculatorWorld};
use super::evaluate::Split;
use super::external::{External, ExternalMode};
use super::math_answer::{AnswerForm, MathAnswer, StepEnd};
use super::model::{Family, Lora, Scratch};
use super::python::{CaseReward, PythonSettings};
use super::sql::{Entity, Exact, Explore, Mix, QueryLimits, ResultCompare, Sandbox, Sql, World};

impl Split {
    /// The split of a generated world.
    pub fn of_world(self) -> stepwell_env::Split {
        match self {
            Split::Train => stepwell_env::Split::Train,
            Split::Development => stepwell_env::Split::Development,
            Split::HeldOut => stepwell_env::Split::HeldOut,
        }
    }
}

impl Scratch {
    /// The model's shape, for a tokenizer with so many entries.
    pub fn config(&self, vocabulary: usize) -> stepwell_model::Config {
        let mut resolved = self.clone();
        resolved.resolve();
        let filled = "a resolved model states every width";
        stepwell_model::Config {
            family: match self.family {
                Family::Llama => stepwell_model::Family::Llama,
                Family::Qwen2 => stepwell_model::Family::Qwen2,
                Family::Qwen3 => stepwell_model::Family::Qwen3,
            },
            vocabulary,
            hidden: self.hidden,
            layers: self.layers,
            heads: self.heads,
            kv_heads: resolved.kv_heads.expect(filled),
            head_dim: resolved.head_dim.expect(filled),
            ffn: resolved.ffn.expect(filled),
            rope_base: self.rope_base,
            rope_scaling: stepwell_model::RopeScaling::None,
            norm_epsilon: self.norm_epsilon,
            tied: self.tied,
            context: self.context,
        }
    }
}

impl MathAnswer {
    /// The environment's settings.
    pub fn config(&self) -> math_answer::Config {
        math_answer::Config {
            form: match self.form {
                AnswerForm::Boxed => math_answer::Form::Boxed,
                AnswerForm::Hashes => math_answer::Form::Hashes,
                AnswerForm::Tags => math_answer::Form::Tags,
            },
            instructions: self.instructions,
            step: self.step.of_env(),
            max_steps: self.max_steps as u32,
        }
    }
}

impl PythonSettings {
    /// The environment's settings.
    pub fn config(&self) -> python::Config {
        python::Config {
            interpreter: self.interpreter.clone().into(),
            read: self.read.iter().map(Into::into).collect(),
            packages: self.packages,
            reward: match self.reward {
                CaseReward::All => python::Reward::All,
                CaseReward::Share => python::Reward::Share,
            },
            max_interactions: self.max_interactions as u32,
            seconds: self.seconds as u32,
            memory_megabytes: self.memory_megabytes as u64,
            workspace_megabytes: self.workspace_megabytes as u64,
            processes: self.processes as u64,
            observation_bytes_max: self.observation_bytes_max,
            artifact: self.artifact.clone(),
            instructions: self.instructions,
            weak: self.sandbox == Sandbox::Weak,
        }
    }
}

impl StepEnd {
    fn of_env(self) -> math_answer::StepEnd {
        match self {
            StepEnd::Paragraph => math_answer::StepEnd::Paragraph,
            StepEnd::Line => math_answer::StepEnd::Line,
            StepEnd::Answer => math_answer::StepEnd::Answer,
        }
    }
}

impl External {
    /// The environment's settings.
    pub fn config(&self) -> external::Config {
        external::Config {
            command: self.command.clone(),
            variables: self.variables.clone(),
            mode: match self.mode {
                ExternalMode::Environment => external::Mode::Environment,
                ExternalMode::Grader => external::Mode::Grader,
            },
            reward: (self.reward_min, self.reward_max),
            parts: self.parts.clone(),
            prompt: self.prompt.0.clone(),
            step: self.step.unwrap_or(StepEnd::Answer).of_env(),
            max_steps: self.max_steps as u32,
            limits: external::Limits {
                start_timeout: Duration::from_secs_f64(self.start_timeout_seconds),
                timeout: Duration::from_secs_f64(self.timeout_seconds),
                restarts_max: self.restarts_max as u32,
                line_bytes_max: self.line_bytes_max,
                observation_bytes_max: self.observation_bytes_max,
            },
        }
    }
}

impl Lora {
    /// The adapter's settings.
    pub fn settings(&self) -> stepwell_model::LoraSettings {
        let target = |word: &String| stepwell_model::Target::of_word(word);
        let mut targets: Vec<_> = self.targets.iter().filter_map(target).collect();
        // An adapter's files name them in this order.
        targets.sort_unstable();
        stepwell_model::LoraSettings { rank: self.rank, alpha: self.alpha, targets }
    }
}

impl World {
    /// What to generate.
    pub fn config(&self) -> WorldConfig {
        let Mix { careful_counting, careful_otherwise, blind, useless, slip } = self.mix;
        WorldConfig {
            seed: self.seed,
            difficulty: u8::try_from(self.difficulty).expect("at most 3, as was checked"),
            train_databases: self.train_databases,
            development_databases: self.development_databases,
            held_out_databases: self.held_out_databases,
            questions: self.questions,
            mix: TraceMix { careful_counting, careful_otherwise, blind, useless, slip },
        }
    }
}

impl Sql {
    /// How attempts are judged, with true results; `evaluate` shuffles them where it is asked to.
    pub fn config(&self) -> sql::Config {
        let QueryLimits {
            steps_max,
            rows_max,
            result_bytes_max,
            value_bytes_max,
            query_bytes_max,
            seconds_max,
            memory_mib_max,
        } = self.limits;
        sql::Config {
            explore: match self.explore {
                Explore::Any => judge::Explore::Any,
                Explore::Fraction => judge::Explore::Fraction,
                Explore::Coverage => judge::Explore::Coverage,
            },
            entity: match self.entity {
                Entity::Jaccard => judge::Entity::Jaccard,
                Entity::AllOrNothing => judge::Entity::AllOrNothing,
            },
            exact: match self.exact {
                Exact::String => judge::Exact::String,
                Exact::Ast => judge::Exact::Ast,
            },
            exec_error_penalty: self.exec_error_penalty,
            twins_held_out: self.twins_held_out,
            result_compare: match self.result_compare {
                ResultCompare::Multiset => judge::ResultCompare::Multiset,
                ResultCompare::Set => judge::ResultCompare::Set,
            },
            max_interactions: u32::try_from(self.max_interactions).expect("at most 1000"),
            rows_shown: self.rows_shown,
            observation_bytes_max: self.observation_bytes_max,
            instructions: self.instructions,
            shuffled_results: false,
            limits: judge::Limits {
                steps_max,
                rows_max,
                result_bytes_max,
                value_bytes_max,
                query_bytes_max,
                seconds_max,
                memory_mib_max,
            },
            sandbox: match self.sandbox {
                Sandbox::Full => judge::Sandbox::Full,
                Sandbox::Weak => judge::Sandbox::Weak,
            },
        }
    }
}

impl CalculatorWorld {
    /// What to generate.
    pub fn config(&self) -> calculator::world::WorldConfig {
        let CalculatorMix { careful_adding, careful_otherwise, blind, wrong_operation, slip } =
            self.mix;
        let mix = calculator::world::TraceMix {
            careful_adding,
            careful_otherwise,
            blind,
            wrong_operation,
            slip,
        };
        calculator::world::WorldConfig {
            seed: self.seed,
            difficulty: u8::try_from(self.difficulty).expect("at most 2, as was checked"),
            train_problems: self.train_problems,
            development_problems: self.development_problems,
            held_out_problems: self.held_out_problems,
            number_max: i64::try_from(self.number_max).expect("at most 10,000"),
            mix,
        }
    }
}

impl Calculator {
    /// How attempts are judged, with true results; `evaluate` shuffles them where it is asked to.
    pub fn config(&self) -> calculator::Config {
        calculator::Config {
            max_interactions: u32::try_from(self.max_interactions).expect("at most 1000"),
            instructions: self.instructions,
            examples: self.examples,
            shuffled_results: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_the_checks_of_those_who_act_on_them() {
        assert_eq!(Scratch::default().config(100).validate(), Ok(()));
        assert_eq!(World::default().config().problems(), Vec::<String>::new());
        assert!(Sql::default().config().check().is_ok());
        assert_eq!(CalculatorWorld::default().config(), calculator::world::WorldConfig::default());
        assert_eq!(CalculatorWorld::default().config().problems(), Vec::<String>::new());
        assert_eq!(Calculator::default().config(), calculator::Config::default());
        assert_eq!(MathAnswer::default().config(), math_answer::Config::default());
        assert_eq!(External::default().config(), external::Config::default());
    }
}
