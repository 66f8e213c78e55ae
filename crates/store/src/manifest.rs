//! `manifest.json`: what a checkpoint consists of, and what it builds on. Written last.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::commit::Head;
use crate::digest::Digest;

pub(crate) const MANIFEST: &str = "manifest.json";
/// Counts changes of the manifest that older versions cannot read.
const FORMAT: u32 = 1;
/// A manifest lists a dozen files; more bytes than this are not one.
pub const BYTES_MAX: u64 = 1 << 20;

/// The manifest as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) written_by: String,
    pub(crate) checkpoint: u64,
    /// Digest of the resolved recipe.
    pub(crate) recipe: Digest,
    /// The record's newest commit when the checkpoint was written.
    pub(crate) last_commit: Head,
    pub(crate) files: Vec<FileEntry>,
    /// Digest of this manifest with [`Digest::ZERO`] in this place.
    pub(crate) manifest: Digest,
}

/// One file of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) blake3: Digest,
}

impl Manifest {
    pub(crate) fn new(
        checkpoint: u64,
        recipe: Digest,
        last_commit: Head,
        files: Vec<FileEntry>,
    ) -> Manifest {
        let written_by = crate::VERSION.to_owned();
        let manifest = Digest::ZERO;
        let mut manifest = Manifest {
            format: FORMAT,
            written_by,
            checkpoint,
            recipe,
            last_commit,
            files,
            manifest,
        };
        manifest.manifest = manifest.own_digest();
        manifest
    }

    fn own_digest(&self) -> Digest {
        let blank = Manifest { manifest: Digest::ZERO, ..self.clone() };
        Digest::of(&blank.bytes())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest serialises");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the manifest in a checkpoint's folder; `Err` is the reason to skip the checkpoint.
    pub(crate) fn read(folder: &Path, number: u64, recipe: Digest) -> Result<Manifest, String> {
        let path = folder.join(MANIFEST);
        let bytes = fs::symlink_metadata(&path).map_or(0, |meta| meta.len());
        let file = match open_regular(&path) {
            Ok(file) if bytes <= BYTES_MAX => file,
            Ok(_) => {
                return Err(format!("`{MANIFEST}`: {bytes} bytes, expected at most {BYTES_MAX}"));
            }
            Err(error) => return Err(format!("`{MANIFEST}`: {error}")),
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|error| format!("`{MANIFEST}`: {error}"))?;
        Manifest::parse(&text, number, recipe)
    }

    /// Reads a manifest from its bytes.
    pub(crate) fn parse(bytes: &[u8], number: u64, recipe: Digest) -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| format!("`{MANIFEST}`: {error}"))?;
        if manifest.manifest != manifest.own_digest() {
            return Err(format!("`{MANIFEST}`: its digest differs"));
        }
        if manifest.format != FORMAT {
            let (theirs, by) = (manifest.format, &manifest.written_by);
            let this = crate::VERSION;
            return Err(format!(
                "written by {by} (format {theirs}); this is {this} (format {FORMAT})"
            ));
        }
        if manifest.checkpoint != number {
            return Err(format!("is a copy of checkpoint {:06}", manifest.checkpoint));
        }
        if manifest.recipe != recipe {
            let got = manifest.recipe;
            return Err(format!("belongs to recipe {got}, the run's recipe is {recipe}"));
        }
        if let Some(entry) = manifest.files.iter().find(|entry| !is_plain(&entry.name)) {
            let name = entry.name.escape_debug();
            return Err(format!("`{MANIFEST}`: \"{name}\" is not the name of a file in it"));
        }
        Ok(manifest)
    }

    /// Compares every file with its size and digest; `Err` is the reason to skip the checkpoint.
    pub(crate) fn verify_files(&self, folder: &Path) -> Result<(), String> {
        if stepwell_mutant::planted(20) {
            return Ok(());
        }
        self.files.iter().try_for_each(|entry| entry.verify(folder))
    }
}

impl FileEntry {
    fn verify(&self, folder: &Path) -> Result<(), String> {
        let name = &self.name;
        let path = folder.join(name);
        let file = open_regular(&path).map_err(|error| format!("`{name}`: {error}"))?;
        let bytes = file.metadata().map_err(|error| format!("`{name}`: {error}"))?.len();
        if bytes != self.bytes {
            return Err(format!("`{name}`: {bytes} bytes, expected {}", self.bytes));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(|error| format!("`{name}`: {error}"))?;
        match Digest(*hasher.finalize().as_bytes()) == self.blake3 {
            true => Ok(()),
            false => Err(format!("`{name}`: its digest differs")),
        }
    }

    /// The file's bytes, compared with their digest once more: time has passed since `verify`.
    pub(crate) fn read(&self, folder: &Path) -> Result<Vec<u8>, String> {
        let name = &self.name;
        let mut bytes = Vec::new();
        open_regular(&folder.join(name))
            .and_then(|file| file.take(self.bytes + 1).read_to_end(&mut bytes))
            .map_err(|error| format!("`{name}`: {error}"))?;
        match Digest::of(&bytes) == self.blake3 {
            true => Ok(bytes),
            false => Err(format!("`{name}`: its digest differs")),
        }
    }
}

/// A name that leads nowhere but into the checkpoint's folder.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Opens a plain file; a link is not followed, wherever it leads.
fn open_regular(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("is not a plain file")),
    }
}
