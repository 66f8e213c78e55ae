//! Settings of the `python` environment.

use super::environment::Files;
use super::macros::{choices, settings};
use super::prompt::PromptText;
use super::setting::Limit;
use super::sql::Sandbox;

choices! {
    /// What a finished attempt earns.
    pub enum CaseReward {
        /// 1 where every case is right, else 0.
        All = "all",
        /// The share of cases that are right.
        Share = "share",
    }
}

settings! {
    /// The environment of programs that run while the policy reasons, and of functions that hidden
    /// cases test. Programs run in a jail: `stepwell doctor` tells whether this machine has one.
    pub struct PythonSettings {
        /// The interpreter by its absolute path, which an unprivileged user must be able to start.
        interpreter: String = "/usr/bin/python3".to_owned(), Limit::Any;
        /// Folders of this machine that programs may read, besides `/usr`. Absolute paths.
        read: Vec<String> = Vec::new(), Limit::Any;
        /// Programs may import installed packages; else the standard library alone.
        packages: bool = false, Limit::Any;
        /// What an attempt earns: 1 where every case is right, or the share of right cases.
        reward: CaseReward = CaseReward::All, Limit::Any;
        /// Most programs that are run in an attempt, before the answer.
        max_interactions: usize = 4, Limit::Whole(0, 1000);
        /// Seconds of processor time of one program or case; ten times as many by the clock.
        seconds: usize = 5, Limit::Whole(1, 600);
        /// Megabytes of memory of a program.
        memory_megabytes: usize = 512, Limit::Whole(64, 65_536);
        /// Megabytes of the folder that programs may write.
        workspace_megabytes: usize = 64, Limit::Whole(1, 65_536);
        /// Processes and threads of a program.
        processes: usize = 32, Limit::Whole(1, 1024);
        /// Most bytes of what a program printed that the policy reads back.
        observation_bytes_max: usize = 1000, Limit::Whole(64, 1_000_000);
        /// A file of the workspace that is the answer. Default: the text between the answer's tags.
        artifact: Option<String> = None, Limit::Any;
        /// What the policy reads: a text with `{question}` or `{own}`, what the environment itself
        /// would say, in braces. Default: what the environment itself says.
        prompt: Option<PromptText> = None, Limit::Any;
        /// The prompt explains the tags: for models that were not trained on them.
        instructions: bool = true, Limit::Any;
        /// `"full"`: a machine that lacks a layer of the sandbox is refused. `"weak"`: it is used as
        /// it is, and the run says so.
        sandbox: Sandbox = Sandbox::Full, Limit::Any;
        tables {
            /// Where tasks come from.
            files: Files = Files::default();
        }
    }
}
