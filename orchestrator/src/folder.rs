//! The folder of a run: `logs/<scenario>/<utc>-<seed>/`, and the links to the newest one.
//!
//! A lock file names the owner by pid *and* start time, so that a run whose owner died is
//! recognised with certainty. Old runs that passed are pruned. Failed runs are kept, and so is the
//! run that the links point to.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use chaos::procfs;
use serde::{Deserialize, Serialize};

use crate::clock;

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct Folder {
    /// `logs`.
    logs: PathBuf,
    /// The run's own.
    path: PathBuf,
    /// The mark in the environment of its processes.
    run_id: String,
}

/// The owner of a run, with enough detail to identify the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub pid_start: u64,
    /// The mark in the environment of its processes.
    pub run_id: String,
}

impl Owner {
    /// Whether that very process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        procfs::start_time(self.pid) == Some(self.pid_start)
    }
}

impl Folder {
    /// Creates the folder of a run, takes its lock and points the links to it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(logs: &Path, scenario: &str, seed: u64) -> io::Result<Self> {
        let name = format!("{}-{seed}", clock::stamp());
        let logs = fs::create_dir_all(logs).and_then(|()| logs.canonicalize())?;
        let runs = logs.join(scenario);
        fs::create_dir_all(&runs)?;
        [&logs, &runs].into_iter().try_for_each(|folder| check_ours(folder))?;
        let path = runs.join(&name);
        // Created anew, so that nothing that another user put there is written to.
        fs::create_dir(&path)?;
        fs::create_dir_all(path.join("events"))?;
        fs::create_dir_all(path.join("data"))?;
        fs::create_dir_all(path.join("inputs"))?;
        let pid = std::process::id();
        let run_id = format!("{scenario}-{name}-{pid}");
        let folder = Self { logs, path, run_id };
        let owner = Owner {
            pid,
            pid_start: procfs::start_time(pid).unwrap_or(0),
            run_id: folder.run_id.clone(),
        };
        folder.write_json("lock.json", &owner)?;
        folder.lead_links_here()?;
        Ok(folder)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mark in the environment of its processes.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The human log of a process.
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        self.path.join(format!("{process}_log.txt"))
    }

    /// The events of a process; `_` is the test bench itself.
    #[must_use]
    pub fn events(&self, process: &str) -> PathBuf {
        self.path.join("events").join(format!("{process}.jsonl"))
    }

    /// The recorded inputs of a process.
    #[must_use]
    pub fn inputs(&self, process: &str) -> PathBuf {
        self.path.join("inputs").join(format!("{process}.bin"))
    }

    /// The data folder of a process.
    #[must_use]
    pub fn data(&self, process: &str) -> PathBuf {
        self.path.join("data").join(process)
    }

    /// The place for a process's data when it is wiped for the `count`-th time. No id contains `~`.
    #[must_use]
    pub fn former_data(&self, process: &str, count: u64) -> PathBuf {
        self.path.join("data").join(format!("{process}~{count}"))
    }

    /// Writes a file of the run.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.path.join(name), text)
    }

    /// Writes a value as a file of the run.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write(name, &(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// Points `logs/<process>_log.txt` to this run's log of the process.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn link_log(&self, process: &str) -> io::Result<()> {
        let link = self.logs.join(format!("{process}_log.txt"));
        replace_link(&self.relative(&self.log(process)), &link)
    }

    /// Releases the lock; the run is over.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn unlock(&self) -> io::Result<()> {
        fs::remove_file(self.path.join("lock.json"))
    }

    /// Removes old runs of this scenario that passed, except the newest few and this one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn prune(&self) -> io::Result<()> {
        let Some(scenario) = self.path.parent() else { return Ok(()) };
        let mut passed: Vec<PathBuf> = fs::read_dir(scenario)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|run| *run != self.path && !run.join("lock.json").exists() && has_passed(run))
            .collect();
        passed.sort();
        let surplus = passed.len().saturating_sub(PASSES_KEPT);
        passed.iter().take(surplus).try_for_each(fs::remove_dir_all)
    }

    fn lead_links_here(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.logs)? {
            let path = entry?.path();
            let is_log =
                path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_log.txt"));
            if is_log && path.is_symlink() {
                fs::remove_file(path)?;
            }
        }
        replace_link(&self.relative(&self.path), &self.logs.join("latest"))
    }

    /// Links are relative, so that a copied or mounted folder of logs stays usable.
    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.logs).unwrap_or(path).to_owned()
    }
}

/// The locked runs under `logs`, each with its owner as far as the lock file can be read.
#[must_use]
pub fn locked_runs(logs: &Path) -> Vec<(PathBuf, Owner)> {
    let folders = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && !path.is_symlink())
    };
    folders(logs)
        .flat_map(|scenario| folders(&scenario).collect::<Vec<_>>())
        .filter_map(|run| {
            let owner =
                serde_json::from_str(&fs::read_to_string(run.join("lock.json")).ok()?).ok()?;
            Some((run, owner))
        })
        .collect()
}

/// A folder in which no other user can redirect our files.
fn check_ours(folder: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(folder)?;
    let shown = folder.display();
    if !meta.is_dir() {
        return Err(io::Error::other(format!(
            "{shown} is no folder; a link that leads to one will not do"
        )));
    }
    if meta.mode() & WRITABLE_BY_ALL != 0 {
        return Err(io::Error::other(format!(
            "everybody can write into {shown}; `chmod o-w {shown}`"
        )));
    }
    Ok(())
}

fn has_passed(run: &Path) -> bool {
    let verdict = fs::read_to_string(run.join("verdict.json")).ok();
    let verdict: Option<serde_json::Value> =
        verdict.and_then(|text| serde_json::from_str(&text).ok());
    verdict.is_some_and(|verdict| verdict["outcome"] == "pass")
}

/// A link is replaced in one step, so that it never is missing.
fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    let mut name = link.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(name);
    symlink(target, &fresh)?;
    fs::rename(&fresh, link)
}

/// How many passing runs of a scenario are kept.
const PASSES_KEPT: usize = 10;
const WRITABLE_BY_ALL: u32 = 0o002;

#[cfg(test)]
mod tests {
    use super::{Folder, PASSES_KEPT, locked_runs};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn links_lead_to_the_newest_run_only() {
        let logs = tempfile::tempdir().unwrap();
        let first = Folder::create(logs.path(), "story", 1).unwrap();
        fs::write(first.log("peer9"), "old").unwrap();
        first.link_log("peer9").unwrap();
        assert_eq!(fs::read_to_string(logs.path().join("peer9_log.txt")).unwrap(), "old");
        let second = Folder::create(logs.path(), "story", 2).unwrap();
        assert!(!logs.path().join("peer9_log.txt").is_symlink());
        assert_eq!(logs.path().join("latest").canonicalize().unwrap(), second.path());
        assert_eq!(locked_runs(logs.path()).len(), 2);
        assert!(locked_runs(logs.path()).iter().all(|(_, owner)| owner.is_alive()));
    }

    #[test]
    fn what_others_could_lead_elsewhere_is_not_written_to() {
        let base = tempfile::tempdir().unwrap();
        let logs = base.path().join("logs");
        fs::create_dir_all(logs.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", logs.join("story")).unwrap();
        assert!(Folder::create(&logs, "story", 1).unwrap_err().to_string().contains("no folder"));
        fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Folder::create(&logs, "tale", 1).unwrap_err().to_string().contains("chmod o-w"));
    }

    #[test]
    fn old_passes_go_and_failures_stay() {
        let logs = tempfile::tempdir().unwrap();
        let runs: Vec<Folder> = (0..PASSES_KEPT as u64 + 4)
            .map(|seed| Folder::create(logs.path(), "story", seed).unwrap())
            .collect();
        for (at, run) in runs.iter().enumerate() {
            let outcome = if at == 0 { "fail" } else { "pass" };
            run.write("verdict.json", &format!("{{\"outcome\":\"{outcome}\"}}")).unwrap();
            run.unlock().unwrap();
        }
        let newest = runs.last().unwrap();
        newest.prune().unwrap();
        let left = fs::read_dir(logs.path().join("story")).unwrap().count();
        assert_eq!(
            left,
            PASSES_KEPT + 2,
            "the passes that are kept, the failure, and the run itself"
        );
        assert!(runs[0].path().exists() && newest.path().exists());
    }
}
