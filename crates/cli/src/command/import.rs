//! `import`: known data sets as task files.

use std::process::ExitCode;

use stepwell_env::import::{Format, load};
use stepwell_store::write_file;

use crate::arguments::{DataSet, Import};
use crate::failure::input;
use crate::say::{complain, say};

/// Most records that are named for one reason.
const NAMED: usize = 20;

/// Converts a file.
pub(crate) fn import(words: &Import) -> anyhow::Result<ExitCode> {
    let (from, to) = (&words.input, &words.output);
    let format = match words.data_set {
        DataSet::Spider => Format::Spider,
        DataSet::Gsm8k => Format::Gsm8k,
        DataSet::Svamp => Format::Svamp,
        DataSet::Chat => Format::Chat,
    };
    if to.exists() {
        return Err(input(format!("`{}` exists; name a file that does not", to.display())));
    }
    let imported = load(format, from)?;
    for (what, records) in [("left out", &imported.skipped), ("note", &imported.notes)] {
        for record in records.iter().take(NAMED) {
            complain(what, record);
        }
        if records.len() > NAMED {
            complain(what, format!("and {} more", records.len() - NAMED));
        }
    }
    write_file(to, imported.text.as_bytes())?;
    let next = match words.data_set {
        DataSet::Spider => {
            format!("next: stepwell tasks check {} --databases FOLDER", to.display())
        }
        DataSet::Chat => {
            format!("next: in a recipe, `[stage.sft]` with data = \"{}\"", to.display())
        }
        DataSet::Gsm8k | DataSet::Svamp => {
            format!("next: stepwell tasks check {} --environment calculator", to.display())
        }
    };
    let (count, left_out) = (imported.count, imported.skipped.len());
    say(format!("{}: {count} lines, {left_out} records left out\n{next}", to.display()));
    Ok(ExitCode::SUCCESS)
}
