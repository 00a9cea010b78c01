//! Gives the build its id: the version and a digest of the sources.

use std::path::Path;

#[path = "fingerprint.rs"]
mod fingerprint;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=fingerprint.rs");
    let digest = fingerprint::fingerprint(Path::new(".."));
    println!("cargo::rustc-env=PEER_BUILD={}+{}", env!("CARGO_PKG_VERSION"), &digest[..12]);
}
