//! Writes the CRD manifests that are committed under `crds/manifests`.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Writes every manifest, and removes those of kinds that are gone.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let dir = root.join("crds/manifests");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let manifests = cellwall_crds::manifests();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let known = manifests
            .iter()
            .any(|(name, _)| path.file_name().is_some_and(|file| file == name.as_str()));
        if !known && path.extension().is_some_and(|extension| extension == "yaml") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for (name, text) in manifests {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
