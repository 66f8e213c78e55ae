//! Settings of the `math_answer` environment.

use super::environment::Files;
use super::macros::{choices, settings};
use super::prompt::PromptText;
use super::setting::Limit;

choices! {
    /// How a final answer is marked.
    pub enum AnswerForm {
        /// `\boxed{…}`: the complete box that opens last.
        Boxed = "boxed",
        /// The rest of the last line that begins with `####`.
        Hashes = "hashes",
        /// `<answer>…</answer>`: the pair that closes last.
        Tags = "tags",
    }
}

choices! {
    /// Where a step of reasoning ends.
    pub enum StepEnd {
        /// At a blank line.
        Paragraph = "paragraph",
        /// At the end of a line.
        Line = "line",
        /// Nowhere: an attempt is one step.
        Answer = "answer",
    }
}

settings! {
    /// The environment of questions with an answer that a program can compare.
    pub struct MathAnswer {
        /// How a final answer is marked: in a box, behind `####`, between answer tags.
        form: AnswerForm = AnswerForm::Boxed, Limit::Any;
        /// What the policy reads: a text with `{question}` or `{own}`, what the environment itself
        /// would say, in braces. Default: what the environment itself says.
        prompt: Option<PromptText> = None, Limit::Any;
        /// The prompt says how.
        instructions: bool = true, Limit::Any;
        /// Where a step ends, and trees can fork: at a blank line, at a line's end, or nowhere.
        step: StepEnd = StepEnd::Paragraph, Limit::Any;
        /// Most steps of an attempt.
        max_steps: usize = 32, Limit::Whole(1, 1000);
        tables {
            /// Where tasks come from.
            files: Files = Files::default();
        }
    }
}
