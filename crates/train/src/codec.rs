//! Text to tokens and back: the tokenizer, and the chat template where the model has one.

use stepwell_model::{ChatTemplate, Tokenizer};
use stepwell_tree::Opening;
