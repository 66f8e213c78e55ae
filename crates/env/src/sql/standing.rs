//! Where an environment's queries run, and what stands between them and the machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Open;
use super::child::{CHILD, Child, NotBegun};
use super::config::Config;
use super::database::Database;
use super::source::Source;
use super::store::Place;
use crate::EnvError;

/// What stands between a query and this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// A child with every layer of its confinement.
    Full,
    /// A child without these layers, which the recipe allows.
    Weak(String),
    /// Nothing but the limits of SQLite: queries run in this process.
    None,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Full => write!(f, "full"),
            Standing::Weak(missing) => write!(f, "weak ({missing})"),
            Standing::None => write!(f, "none (in this process)"),
        }
    }
}

impl Open {
    /// Opens databases in this process.
    pub(super) fn here(
        sources: BTreeMap<String, Source>,
        config: &Config,
    ) -> Result<Open, EnvError> {
        let open = |(name, source)| Ok((name, Database::here(source, &config.limits)?));
        let databases = sources.into_iter().map(open).collect::<Result<_, EnvError>>()?;
        Ok(Open { databases, child: None, standing: Standing::None })
    }

    /// Opens databases in a child.
    pub(super) fn child(
        sources: BTreeMap<String, Source>,
        config: &Config,
    ) -> Result<Open, EnvError> {
        let (names, sources): (Vec<String>, Vec<Source>) = sources.into_iter().unzip();
        for source in &sources {
            if let Some(path) = source.path().filter(|path| path.to_str().is_none()) {
                let cause = "its path is not UTF-8".to_owned();
                return Err(EnvError::Unreadable { path: path.to_owned(), cause });
            }
        }
        let command = || stepwell_sandbox::child::command(&CHILD);
        let child = Child::new(command, sources, &config.limits, config.sandbox);
        let opened = child.open().map_err(|error| match error {
            NotBegun::Unconfined(cause) => EnvError::Sandbox { cause },
            NotBegun::Lost(lost) => EnvError::Process { cause: lost.to_string() },
        })?;
        let child = Arc::new(child);
        let mut databases = BTreeMap::new();
        for (number, (name, described)) in names.into_iter().zip(opened.databases).enumerate() {
            let source = &child.sources()[number];
            let description = described.map_err(|fault| fault.at(source.name(), source.path()))?;
            let place = Place::Child(Arc::clone(&child), number as u32);
            let own = source.name().to_owned();
            databases.insert(name, Database::at(place, own, description, &config.limits));
        }
        let standing = match opened.missing.as_slice() {
            [] => Standing::Full,
            missing => Standing::Weak(missing.join("; ")),
        };
        Ok(Open { databases, child: Some(child), standing })
    }
}
