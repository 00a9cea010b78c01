//! This machine: CPU, memory, load, disk, and temperatures if available.
//!
//! A hanging disk blocks the worker thread and nothing else. Only the root file system is measured,
//! because network mounts hang often.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sysinfo::{
    Components, CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System,
};

/// A probe of this machine. Unavailable quantities are left out of its readings.
#[derive(Debug)]
pub struct Host {
    system: Option<System>,
    components: Option<Components>,
    /// Whether the last look at the processors succeeded.
    looked: bool,
}

impl Default for Host {
    fn default() -> Self {
        let cpu = CpuRefreshKind::nothing().with_usage();
        let what =
            RefreshKind::nothing().with_cpu(cpu).with_memory(MemoryRefreshKind::everything());
        Self {
            system: System::new_with_specifics(what).ok(),
            components: Components::new_with_refreshed_list().ok(),
            looked: says("stat", |text| text.starts_with("cpu ")),
        }
    }
}

impl Host {
    /// Names and values. CPU usage is that since the last call, so a first call shortly after the
    /// start is not representative.
    pub fn measure(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        self.measure_system(&mut fields);
        if says("loadavg", |text| {
            text.split_ascii_whitespace().take(3).filter(|word| word.parse::<f64>().is_ok()).count()
                == 3
        }) && let Ok(load) = System::load_average()
        {
            put(&mut fields, "load_1m", format!("{:.2}", load.one));
            put(&mut fields, "load_5m", format!("{:.2}", load.five));
            put(&mut fields, "load_15m", format!("{:.2}", load.fifteen));
        }
        if let Ok(mut disks) = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing())
            && let Some(root) = disks.iter_mut().find(|disk| disk.mount_point() == Path::new("/"))
        {
            root.refresh_specifics(DiskRefreshKind::nothing().with_storage());
            if root.total_space() > 0 {
                put(&mut fields, "disk_total_bytes", root.total_space());
                put(&mut fields, "disk_available_bytes", root.available_space());
            }
        }
        if let Some(components) = &mut self.components {
            components.refresh(false);
            for component in components.iter().take(TEMPERATURES_MAX) {
                if let Some(celsius) = component.temperature().filter(|celsius| celsius.is_finite())
                {
                    put(
                        &mut fields,
                        &format!("temperature_celsius.{}", field_name(component.label())),
                        format!("{celsius:.1}"),
                    );
                }
            }
        }
        fields
    }

    /// The crate returns zeros, or old values, for unreadable quantities; so it is asked only for
    /// readable ones.
    fn measure_system(&mut self, fields: &mut Vec<(String, String)>) {
        let Some(system) = &mut self.system else { return };
        // Usage is the difference of two looks.
        let looked =
            std::mem::replace(&mut self.looked, says("stat", |text| text.starts_with("cpu ")));
        system.refresh_cpu_usage();
        let usage = system.global_cpu_usage();
        if looked && self.looked && usage.is_finite() {
            put(fields, "cpu_percent", format!("{usage:.1}"));
        }
        if says("meminfo", |text| {
            text.contains("MemTotal:")
                && (text.contains("MemAvailable:") || text.contains("MemFree:"))
        }) {
            system.refresh_memory();
            // The memory in use is the difference.
            if system.total_memory() > 0 && system.available_memory() <= system.total_memory() {
                put(fields, "memory_total_bytes", system.total_memory());
                put(fields, "memory_used_bytes", system.used_memory());
                put(fields, "memory_available_bytes", system.available_memory());
            }
        }
    }
}

/// Whether a file of `/proc` can be read now, and contains the wanted text.
fn says(name: &str, wanted: impl FnOnce(&str) -> bool) -> bool {
    let text = File::open(Path::new("/proc").join(name)).and_then(|file| {
        let mut text = Vec::new();
        file.take(PROBE_MAX).read_to_end(&mut text)?;
        Ok(text)
    });
    text.is_ok_and(|text| wanted(&String::from_utf8_lossy(&text)))
}

fn put(fields: &mut Vec<(String, String)>, name: &str, value: impl ToString) {
    fields.push((name.to_owned(), value.to_string()));
}

/// A label as a field name: separators become underscores.
fn field_name(label: &str) -> String {
    label
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .collect()
}

const TEMPERATURES_MAX: usize = 32;
/// The wanted text is at the beginning.
const PROBE_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::{Host, field_name, says};
    use std::collections::BTreeMap;

    fn meminfo(key: &str) -> u64 {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1_024
    }

    #[test]
    fn memory_is_what_the_kernel_says() {
        let fields: BTreeMap<String, String> = Host::default().measure().into_iter().collect();
        let number = |name: &str| fields[name].parse::<u64>().unwrap();
        let total = meminfo("MemTotal:");
        assert_eq!(number("memory_total_bytes"), total);
        // The machine runs on between the two looks; a tenth of its memory does not change within a
        // moment.
        let gap = number("memory_available_bytes").abs_diff(meminfo("MemAvailable:"));
        assert!(gap < total / 10, "{gap} of {total}");
        assert_eq!(number("memory_used_bytes"), total - number("memory_available_bytes"));
    }

    #[test]
    fn the_root_disk_and_the_load_are_there() {
        let fields: BTreeMap<String, String> = Host::default().measure().into_iter().collect();
        assert!(fields["load_1m"].parse::<f64>().unwrap() >= 0.0);
        assert!((0.0..=100.0).contains(&fields["cpu_percent"].parse::<f64>().unwrap()));
    }

    #[test]
    fn what_is_not_there_says_nothing() {
        assert!(says("meminfo", |text| text.contains("MemTotal:")));
        assert!(!says("meminfo", |text| text.contains("MemImaginary:")));
        assert!(!says("no such file", |_| true));
        assert!(!says("self", |_| true), "a folder");
        let mut blind = Host { system: None, components: None, looked: false };
        assert!(
            blind
                .measure()
                .iter()
                .all(|(field, _)| field.starts_with("load_") || field.starts_with("disk_"))
        );
    }

    #[test]
    fn labels_hold_no_separators() {
        assert_eq!(field_name("Core 0|x=1\n"), "Core_0_x_1_");
    }
}
