//! Every script in `protocol/scripts` is replayed, and has to come out as it stands there. `UPDATE=1` rewrites them;
//! the difference is what gets reviewed.

use std::fs;
use std::path::Path;

#[test]
fn every_script_comes_out_as_it_stands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/scripts");
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= 12, "there should be a good dozen scripts in {}", folder.display());
    let update = std::env::var_os("UPDATE").is_some();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let replayed = simulator::script::replay(&text).unwrap_or_else(|error| panic!("protocol/scripts/{name}, {error}"));
        if update {
            fs::write(&path, replayed).unwrap();
        } else {
            assert_eq!(
                replayed, text,
                "\nprotocol/scripts/{name} comes out differently; if that is right: UPDATE=1 cargo test -p simulator"
            );
        }
    }
}
