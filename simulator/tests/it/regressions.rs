//! Plans that once broke a promise, in their smallest form: they have to pass.
//!
//! The first line of each file says what it showed. A new one is the output of `simulator shrink`.

use std::fs;
use std::path::Path;

use simulator::plan::Plan;
use simulator::run::run;
use simulator::watch::Unwatched;

#[test]
fn what_was_mended_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 15, "there should be more plans in {}", folder.display());
    let mut broken = vec![];
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "regressions/{name} does not say what it showed");
        let plan: Plan =
            toml::from_str(&text).unwrap_or_else(|error| panic!("regressions/{name}: {error}"));
        let (verdict, _) =
            run(&plan, Unwatched).unwrap_or_else(|error| panic!("regressions/{name}: {error}"));
        assert!(verdict.tally.inputs > 0, "nothing happens in regressions/{name}");
        broken.extend(
            verdict
                .breaches
                .into_iter()
                .map(|breach| format!("{name}: {}: {}", breach.promise, breach.words)),
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
