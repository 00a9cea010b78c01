//! The loop as a service: reports to its manager, and SIGHUP.

use super::Shell;
use crate::clock;
use crate::journal;
use crate::settings::Changes;

impl Shell {
    /// Reopens the files of this peer by their paths, so that they can be rotated while it runs;
    /// and reads its configuration again.
    pub(super) fn hang_up(&mut self) {
        log::info!("SIGHUP: opening the files of this peer anew.");
        self.notify.reload(clock::now());
        self.outputs.reopen();
        self.worker.reopen();
        match self.reloader.begin() {
            Ok(true) => {}
            Ok(false) => self.notify.reloaded(),
            Err(error) => {
                log::error!(
                    "SIGHUP: the configuration is not read again: {error}; nothing has changed."
                );
                self.notify.reloaded();
            }
        }
    }

    /// Adopts a configuration that was read again, and reports the status to the manager.
    pub(super) fn look_at_service(&mut self) {
        while let Some(outcome) = self.reloader.outcome() {
            match outcome {
                Ok(changes) => self.take_over(changes),
                Err(failure) => log::error!(
                    "SIGHUP: nothing has changed, because the configuration is broken: {failure}"
                ),
            }
            if !self.reloader.is_reading() {
                self.notify.reloaded();
            }
        }
        if let Some(names) = &self.names {
            names.follow(self.node.view().map(|view| view.size()));
        }
        if self.notify.is_heard() && std::mem::take(&mut self.has_news) {
            self.notify.stand(&self.node.status());
        }
    }

    fn take_over(&mut self, changes: Changes) {
        let Changes { settings, names } = changes;
        let file = self.reloader.file().map(|path| path.display().to_string()).unwrap_or_default();
        if names.is_empty() {
            log::info!("SIGHUP: {file} says nothing new.");
            return;
        }
        let (taken, kept): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| CHANGEABLE.contains(name));
        for name in &taken {
            self.reloader.adopt(name, &settings.source);
            match *name {
                // The messages below are logged at both levels.
                "log_level" => journal::set_level(settings.log_level.max(log::max_level())),
                "seeds" => {
                    if let Some(names) = &self.names {
                        names.replace(settings.seeds.clone());
                    }
                }
                other => unreachable!("{other} is said to be changeable"),
            }
        }
        if !taken.is_empty() {
            log::info!("SIGHUP: {file} was read again; {} changed.", taken.join(" and "));
        }
        if !kept.is_empty() {
            let verb = if kept.len() == 1 { "needs" } else { "need" };
            log::warn!(
                "SIGHUP: {} {verb} a restart; until then the peer goes on as before.",
                kept.join(", ")
            );
        }
        if taken.contains(&"log_level") {
            journal::set_level(settings.log_level);
        }
    }
}

/// Settings that can change at run time.
const CHANGEABLE: [&str; 2] = ["log_level", "seeds"];
