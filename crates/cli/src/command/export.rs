//! `export`: copies of a run for other tools.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use stepwell_engine::judge::{adapter_at, policy_at};
use stepwell_store::{
    EventFile, Kind, Lines, MetricCursor, RunReader, Shape, export_csv, export_jsonl,
    export_parquet, is_running,
};

use crate::arguments::{Export, Format, MetricsFormat};
use crate::failure::input;
use crate::interrupt;
use crate::say::say;
use crate::table::grouped;

/// Time between two looks at a run that is followed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes the copy under a temporary name first: it is whole or absent. What follows a run grows
/// under its own name.
pub(crate) fn export(words: &Export) -> anyhow::Result<ExitCode> {
    let output = &words.output;
    let events = words.metrics == Some(MetricsFormat::Tensorboard);
    if output.exists() {
        let output = output.display();
        return Err(input(format!("`{output}` exists; name a file or folder that does not")));
    }
    if words.follow && !events {
        return Err(input("`--follow` is for `--metrics tensorboard`; a table is written at once"));
    }
    if words.follow {
        interrupt::listen()?;
        let what = tensorboard(words, &mut Copy::at(output.clone()))?;
        say(format!("{}: {what}", output.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut copy = Copy::at(temporary(output)?);
    let what = match write(words, &mut copy) {
        Ok(what) => what,
        Err(error) => {
            copy.remove();
            return Err(error);
        }
    };
    fs::rename(&copy.path, output)
        .with_context(|| format!("cannot write `{}`", output.display()))?;
    say(format!("{}: {what}", output.display()));
    Ok(ExitCode::SUCCESS)
}

fn temporary(output: &Path) -> anyhow::Result<PathBuf> {
    let name = output.file_name().ok_or_else(|| input("the output names no file"))?;
    Ok(output.with_file_name(format!("tmp-{}", name.to_string_lossy())))
}

/// What is written, until it is whole. What lay there before is not touched.
struct Copy {
    path: PathBuf,
    /// True once this call has made it.
    made: bool,
}

impl Copy {
    fn at(path: PathBuf) -> Copy {
        Copy { path, made: false }
    }

    fn file(&mut self) -> anyhow::Result<File> {
        self.room()?;
        let file = File::create_new(&self.path).map_err(|error| self.cannot(error))?;
        self.made = true;
        Ok(file)
    }

    fn folder(&mut self) -> anyhow::Result<()> {
        self.room()?;
        fs::create_dir(&self.path).map_err(|error| self.cannot(error))?;
        self.made = true;
        Ok(())
    }

    /// Makes the folder that it lies in: only once there is something to write.
    fn room(&self) -> anyhow::Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
    }

    fn cannot(&self, error: io::Error) -> anyhow::Error {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => input(format!(
                "`{path}` exists, perhaps of an export that was stopped; move or remove it, or \
                 name another output"
            )),
            _ => anyhow::Error::new(error).context(format!("cannot write `{path}`")),
        }
    }

    fn remove(&self) {
        if self.made {
            let _ = fs::remove_file(&self.path).or_else(|_| fs::remove_dir_all(&self.path));
        }
    }
}

/// Returns what was written.
fn write(words: &Export, to: &mut Copy) -> anyhow::Result<String> {
    let format = if words.merge { Some(Format::Huggingface) } else { words.format };
    match (format, words.metrics) {
        (Some(format @ (Format::Huggingface | Format::Peft)), _) => folder(words, format, to),
        (_, Some(MetricsFormat::Tensorboard)) => tensorboard(words, to),
        _ => file(words, to),
    }
}

fn file(words: &Export, to: &mut Copy) -> anyhow::Result<String> {
    let reader = RunReader::open(&words.run)?;
    let place = || format!("cannot write `{}`", words.output.display());
    let mut out = BufWriter::new(to.file()?);
    let what = match (words.format, words.metrics) {
        (_, Some(metrics)) => {
            let wide = metrics == MetricsFormat::Csv;
            let shape = if wide { Shape::Wide } else { Shape::Long };
            let what = if wide { "updates and evaluations" } else { "numbers" };
            format!("{} {what}, one a row", grouped(export_csv(&reader, shape, &mut out)?))
        }
        (Some(Format::Jsonl), _) => {
            let trees = export_jsonl(&reader, Lines::Trees, &mut out)?;
            format!("{} trees, one a line", grouped(trees))
        }
        _ => format!("{} steps, one a row", grouped(export_parquet(&reader, &mut out)?)),
    };
    out.flush().with_context(place)?;
    out.get_ref().sync_all().with_context(place)?;
    Ok(what)
}

/// A folder of events; with `--follow` until the run is over or nobody goes on with it.
fn tensorboard(words: &Export, to: &mut Copy) -> anyhow::Result<String> {
    type Events = EventFile<BufWriter<File>>;
    RunReader::open(&words.run)?;
    let place = || format!("cannot write `{}`", words.output.display());
    to.folder()?;
    let file = File::create_new(to.path.join(Events::NAME)).with_context(place)?;
    let mut events = EventFile::new(BufWriter::new(file)).with_context(place)?;
    let (mut cursor, mut written) = (MetricCursor::default(), 0);
    loop {
        // Asked before reading: what is committed in between is read by the next turn.
        let goes_on = is_running(&words.run);
        // Not held open between two looks: a run that ends would leave its log beside the record.
        let reader = RunReader::open(&words.run)?;
        let goes_on = goes_on && reader.newest(Kind::Finished)?.is_none();
        for row in cursor.read(&reader)? {
            events.put(&row).with_context(place)?;
            written += 1;
        }
        drop(reader);
        events.flush().with_context(place)?;
        if !words.follow || !goes_on || interrupt::requested() {
            let next = format!("next: tensorboard --logdir {}", words.output.display());
            return Ok(format!("{} updates and evaluations\n{next}", grouped(written)));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A checkpoint without what only a resume needs.
fn folder(words: &Export, format: Format, to: &mut Copy) -> anyhow::Result<String> {
    let (name, files) = match format {
        Format::Peft => adapter_at(&words.run, words.checkpoint)?,
        _ => policy_at(&words.run, words.checkpoint)?,
    };
    let place = || format!("cannot write `{}`", words.output.display());
    to.folder()?;
    for (file, bytes) in &files {
        fs::write(to.path.join(file), bytes).with_context(place)?;
    }
    let names: Vec<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
    Ok(format!("{name} as {}", names.join(", ")))
}
