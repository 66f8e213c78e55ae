//! Where the named files of a model come from: a folder, or memory (a checkpoint in the store).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Cursor, Read, Seek},
    path::{Path, PathBuf},
};

use super::error::IoError;

/// Small files (everything but weights) larger than this are refused before they are read.
pub const TEXT_BYTES_MAX: u64 = 64 << 20;

/// A folder or a set of named byte strings.
pub(crate) enum Source<'a> {
    Folder(PathBuf),
    Memory(BTreeMap<&'a str, &'a [u8]>),
}

/// Bytes that can be sought, and how many there are.
pub(crate) struct Opened<'a> {
    pub(crate) reader: Box<dyn ReadSeek + 'a>,
    pub(crate) length: u64,
}

pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl<'a> Source<'a> {
    pub(crate) fn folder(path: &Path) -> Result<Self, IoError> {
        // A clear message for the commonest mistake, before any file of it is asked for.
        let found = std::fs::metadata(path).map_err(|source| IoError::reading(path, source))?;
        if !found.is_dir() {
            let source = std::io::Error::other(
                "expected a GGUF file (.gguf) or a folder with config.json, got another file",
            );
            return Err(IoError::reading(path, source));
        }
        Ok(Self::Folder(path.to_owned()))
    }

    /// The GGUF file that a path means, opened: the file itself, or the only one of a folder
    /// without a `config.json`. `None` if the path means a Hugging Face folder.
    pub(crate) fn gguf(path: &Path) -> Result<Option<(String, Opened<'static>)>, IoError> {
        let found = std::fs::metadata(path).map_err(|source| IoError::reading(path, source))?;
        if !found.is_dir() {
            let named = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
            return if named { Ok(Some(opened(path)?)) } else { Ok(None) };
        }
        if path.join("config.json").exists() {
            return Ok(None);
        }
        let names = Self::Folder(path.to_owned()).names()?;
        let files: Vec<String> =
            names.into_iter().filter(|name| name.to_ascii_lowercase().ends_with(".gguf")).collect();
        match files.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(opened(&path.join(only))?)),
            many => {
                let problem = format!("expected one GGUF file, got {}; name one", many.join(", "));
                Err(IoError::reading(path, std::io::Error::other(problem)))
            }
        }
    }

    pub(crate) fn memory(files: &'a [(String, Vec<u8>)]) -> Self {
        Self::Memory(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect())
    }

    /// Opens a file of the folder; `None` if there is none of that name.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Opened<'_>>, IoError> {
        match self {
            Self::Memory(files) => Ok(files.get(name).map(|bytes| Opened {
                reader: Box::new(Cursor::new(*bytes)),
                length: bytes.len() as u64,
            })),
            Self::Folder(folder) => {
                let path = folder.join(name);
                match regular(&path) {
                    Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    other => Ok(Some(other.map_err(|source| IoError::reading(&path, source))?)),
                }
            }
        }
    }

    /// A whole small file.
    pub(crate) fn text(&self, name: &str) -> Result<Option<Vec<u8>>, IoError> {
        let Some(mut opened) = self.open(name)? else { return Ok(None) };
        if opened.length > TEXT_BYTES_MAX {
            let length = opened.length;
            return Err(IoError::damaged(
                name,
                format!("got {length} bytes, expected at most {TEXT_BYTES_MAX}"),
            ));
        }
        let mut bytes = Vec::new();
        let limited = opened.reader.as_mut().take(TEXT_BYTES_MAX);
        { limited }
            .read_to_end(&mut bytes)
            .map_err(|source| IoError::reading(&self.path(name), source))?;
        Ok(Some(bytes))
    }

    /// The names of all files, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, IoError> {
        match self {
            Self::Memory(files) => Ok(files.keys().map(|name| (*name).to_owned()).collect()),
            Self::Folder(folder) => {
                let wrong = |source| IoError::reading(folder, source);
                let mut names = Vec::new();
                for entry in std::fs::read_dir(folder).map_err(wrong)? {
                    names.push(entry.map_err(wrong)?.file_name().to_string_lossy().into_owned());
                }
                names.sort();
                Ok(names)
            }
        }
    }

    /// A path for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::Memory(_) => PathBuf::from(name),
        }
    }
}

fn opened(path: &Path) -> Result<(String, Opened<'static>), IoError> {
    let opened = regular(path).map_err(|source| IoError::reading(path, source))?;
    Ok((path.display().to_string(), opened))
}

/// Asks what a file is before it is opened: opening a pipe waits for whoever writes into it.
fn regular(path: &Path) -> std::io::Result<Opened<'static>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("expected a regular file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(Opened { reader: Box::new(file), length })
}
