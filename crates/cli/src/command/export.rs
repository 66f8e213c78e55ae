//! `export`: copies of a run for other tools.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use stepwell_engine::judge::{newest_adapter, newest_policy};
use stepwell_store::{Lines, RunReader, export_jsonl, export_parquet};

use crate::arguments::{Export, Format};
use crate::failure::input;
use crate::say::say;
use crate::table::grouped;

/// Writes the copy under a temporary name first: it is whole or absent.
pub(crate) fn export(words: &Export) -> anyhow::Result<ExitCode> {
    let output = &words.output;
    if output.exists() {
        let output = output.display();
        return Err(input(format!("`{output}` exists; name a file or folder that does not")));
    }
    let temporary = temporary(output)?;
    let what = match write(words, &temporary) {
        Ok(what) => what,
        Err(error) => {
            let _ = fs::remove_file(&temporary).or_else(|_| fs::remove_dir_all(&temporary));
            return Err(error);
        }
    };
    fs::rename(&temporary, output)
        .with_context(|| format!("cannot write `{}`", output.display()))?;
    say(format!("{}: {what}", output.display()));
    Ok(ExitCode::SUCCESS)
}

fn temporary(output: &Path) -> anyhow::Result<PathBuf> {
    let name = output.file_name().ok_or_else(|| input("the output names no file"))?;
    Ok(output.with_file_name(format!("tmp-{}", name.to_string_lossy())))
}

/// Returns what was written.
fn write(words: &Export, to: &Path) -> anyhow::Result<String> {
    if matches!(words.format, Format::Huggingface | Format::Peft) {
        return folder(words, to);
    }
    let reader = RunReader::open(&words.run)?;
    let place = || format!("cannot write `{}`", words.output.display());
    make_room(to)?;
    let mut out = BufWriter::new(File::create(to).with_context(place)?);
    let what = match words.format {
        Format::Jsonl => {
            let trees = export_jsonl(&reader, Lines::Trees, &mut out)?;
            format!("{} trees, one a line", grouped(trees))
        }
        _ => format!("{} steps, one a row", grouped(export_parquet(&reader, &mut out)?)),
    };
    out.flush().with_context(place)?;
    out.get_ref().sync_all().with_context(place)?;
    Ok(what)
}

/// Makes the folder that the output lies in: only once there is something to write.
fn make_room(to: &Path) -> anyhow::Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

/// The newest checkpoint without what only a resume needs.
fn folder(words: &Export, to: &Path) -> anyhow::Result<String> {
    let (name, files) = match words.format {
        Format::Peft => newest_adapter(&words.run)?,
        _ => newest_policy(&words.run)?,
    };
    let place = || format!("cannot write `{}`", words.output.display());
    make_room(to)?;
    fs::create_dir(to).with_context(place)?;
    for (file, bytes) in &files {
        fs::write(to.join(file), bytes).with_context(place)?;
    }
    let names: Vec<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
    Ok(format!("{name} as {}", names.join(", ")))
}
