// Names a build by its sources, so that it needs no git and works from a tarball: the 64-bit FNV-1a
// digest of the sources that determine what a peer sends and writes.

use std::fs;
use std::path::{Path, PathBuf};

/// The digest of the sources of `peer`, `protocol` and `stdio`, in hex; tells cargo when to ask
/// again.
///
/// `crates` is the folder that holds these crates.
pub(crate) fn fingerprint(crates: &Path) -> String {
    let mut files = Vec::new();
    for part in [
        "peer/src",
        "peer/Cargo.toml",
        "protocol/src",
        "protocol/Cargo.toml",
        "stdio/src",
        "stdio/Cargo.toml",
    ] {
        let path = crates.join(part);
        println!("cargo::rerun-if-changed={}", path.display());
        collect(&path, &mut files);
    }
    files.sort();
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for file in &files {
        let name = file.strip_prefix(crates).unwrap_or(file).to_string_lossy().into_owned();
        let content = fs::read(file).unwrap_or_default();
        for byte in name.bytes().chain([0]).chain(content) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    format!("{hash:016x}")
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|entry| collect(&entry.path(), files)),
        Err(_) => files.push(path.to_owned()),
    }
}
