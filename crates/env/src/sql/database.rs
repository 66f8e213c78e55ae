//! A database, its twin and what the policy is told about it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::answer::Lost;
use super::config::Limits;
use super::equality::Comparison;
use super::shelf::{Description, Shelf, Which};
use super::source::Source;
use super::store::{Place, Store};
use super::twin;
use crate::EnvError;

/// A database that tasks ask about.
pub struct Database {
    name: String,
    description: Description,
    place: Place,
    limits: Limits,
    original: Store,
    /// By variant, made when first asked for; `None` where there is none.
    twins: [OnceLock<Option<Store>>; twin::VARIANTS + twin::HELD_OUT_MAX],
}

/// The twin a gold query is judged on.
#[derive(Clone, Copy)]
pub(super) enum Twin<'a> {
    /// The gold query's result differs there, so no constant passes.
    Differs(&'a Store),
    /// It is the same on every twin that was tried.
    Same(&'a Store),
    /// No twin runs the gold query: the original alone judges.
    Missing,
}

impl Database {
    /// Opens a SQLite file in this process. It must not change meanwhile: it is read in place,
    /// without locks. Its twin is derived.
    ///
    /// # Errors
    /// The file is no whole database.
    pub fn open(path: &Path) -> Result<Database, EnvError> {
        Database::here(Source::file(path), &Limits::default())
    }

    /// Opens a database in this process.
    pub(super) fn here(source: Source, limits: &Limits) -> Result<Database, EnvError> {
        let (name, path) = (source.name().to_owned(), source.path().map(Path::to_owned));
        let shelf = Shelf::open(source, limits.clone());
        let description = shelf.describe().map_err(|fault| fault.at(&name, path.as_deref()))?;
        Ok(Database::at(Place::Here(Arc::new(shelf)), name, description, limits))
    }

    /// A database that is open somewhere.
    pub(super) fn at(
        place: Place,
        name: String,
        description: Description,
        limits: &Limits,
    ) -> Database {
        let original = Store::new(place.clone(), Which::Original, limits.clone());
        let (limits, twins) = (limits.clone(), Default::default());
        Database { name, description, place, limits, original, twins }
    }

    /// The name tasks use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a prompt says of its tables.
    pub fn schema_text(&self) -> &str {
        &self.description.schema_text
    }

    /// The database itself.
    pub fn original(&self) -> &Store {
        &self.original
    }

    /// A twin of it; `None` where there is none of this variant.
    ///
    /// # Errors
    /// It could not be asked for.
    pub fn twin(&self, variant: usize) -> Result<Option<&Store>, Lost> {
        if variant < twin::VARIANTS { self.derived(variant) } else { Ok(None) }
    }

    fn derived(&self, variant: usize) -> Result<Option<&Store>, Lost> {
        let (Some(twin), Ok(number)) = (self.twins.get(variant), u8::try_from(variant)) else {
            return Ok(None);
        };
        if twin.get().is_none() {
            let which = Which::Twin(number);
            let found = self.place.prepare(which)?;
            let store = || Store::new(self.place.clone(), which, self.limits.clone());
            twin.get_or_init(|| found.then(store));
        }
        Ok(twin.get().and_then(Option::as_ref))
    }

    /// The databases of a stricter judge, derived as twins are: no reward reads them.
    pub(super) fn held_out(&self, count: usize) -> Result<Vec<&Store>, Lost> {
        let variants = twin::VARIANTS..twin::VARIANTS + count.min(twin::HELD_OUT_MAX);
        let found: Result<Vec<Option<&Store>>, Lost> =
            variants.map(|at| self.derived(at)).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// `table` and `table.column`, lower case.
    pub(super) fn names(&self) -> &BTreeSet<String> {
        &self.description.names
    }

    /// The first twin on which a gold query gives another result than on the original.
    pub(super) fn twin_for(&self, gold: &str, comparison: Comparison) -> Result<Twin<'_>, Lost> {
        let gold_answer = self.original.query(gold)?;
        let Ok(expected) = &gold_answer.outcome else { return Ok(Twin::Missing) };
        let mut choice = Twin::Missing;
        for variant in 0..twin::VARIANTS {
            let Some(twin) = self.twin(variant)? else { continue };
            match &twin.query(gold)?.outcome {
                Ok(other) if !comparison.equal(expected, other) => return Ok(Twin::Differs(twin)),
                Ok(_) => choice = Twin::Same(twin),
                Err(_) => {}
            }
        }
        Ok(choice)
    }
}
