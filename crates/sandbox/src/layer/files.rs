//! L9: Landlock, required and not best effort: files by folder, no TCP, no abstract sockets and no
//! signals to processes outside.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
    Scope,
};

use super::LayerError;

/// The kernel's version of the rules that is asked for: the first with scopes.
pub const LANDLOCK: ABI = ABI::V6;

/// What stays open. Everything else is closed.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Files and folders to read and execute.
    pub read: Vec<PathBuf>,
    /// Folders to read and write.
    pub write: Vec<PathBuf>,
    /// Devices to read and write, nothing else.
    pub devices: Vec<PathBuf>,
}

/// Closes everything but the rules.
///
/// # Errors
/// The kernel is older than [`LANDLOCK`], or a path of the rules cannot be opened.
pub fn restrict(rules: &Rules) -> Result<(), LayerError> {
    let failed = |error: landlock::RulesetError| LayerError::new("landlock", error);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(landlock::Ruleset::create)
        .map_err(failed)?;
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let everything = AccessFs::from_all(LANDLOCK) & !(AccessFs::IoctlDev | AccessFs::MakeBlock);
    for (paths, access) in [
        (&rules.read, AccessFs::from_read(LANDLOCK)),
        (&rules.write, everything & !AccessFs::MakeChar),
        (&rules.devices, device),
    ] {
        for path in paths {
            ruleset = allow(ruleset, path, access)?;
        }
    }
    let status = ruleset.restrict_self().map_err(failed)?;
    if status.ruleset != RulesetStatus::FullyEnforced {
        return Err(LayerError::new("landlock", format!("{:?}", status.ruleset)));
    }
    Ok(())
}

fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LayerError> {
    let failed = |why: String| LayerError::new("landlock", format!("{}: {why}", path.display()));
    let descriptor = PathFd::new(path).map_err(|error| failed(error.to_string()))?;
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK) };
    let rule = PathBeneath::new(descriptor, access);
    ruleset.add_rule(rule).map_err(|error| failed(error.to_string()))
}
