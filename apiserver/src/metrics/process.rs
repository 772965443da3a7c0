//! What Prometheus' own clients say of every process, and which build this is. Read from `/proc` when asked for; what
//! cannot be read is left out.

use std::fmt::Write;
use std::fs;

use crate::http::paths::GIT_VERSION;

/// Clock ticks in a second, as Linux shows them to programs on every machine we run on.
const TICKS: f64 = 100.0;

/// Appends the series.
pub fn write(out: &mut String) {
    let mut series = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
                .expect("writing to a text does not fail");
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold anything.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    // Counted from the fourth field, the parent's pid: utime, stime, starttime and vsize.
    let field = |number: usize| fields.get(number - 4).copied();
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS);
    let started = field(22).zip(number_in("/proc/stat", "btime")).map(|(ticks, boot)| boot + ticks / TICKS);
    series("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
    series("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", started);
    series("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(23));
    let resident = number_in("/proc/self/status", "VmRSS:").map(|kib| kib * 1024.0);
    series("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident);
    let open = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64);
    series("process_open_fds", "gauge", "Number of open file descriptors.", open);
    let most = number_in("/proc/self/limits", "Max open files");
    series("process_max_fds", "gauge", "Maximum number of open file descriptors.", most);
    const BUILD: &str = "kubernetes_build_info";
    writeln!(
        out,
        "# HELP {BUILD} [BETA] The build, as labels of a series that is always 1.\n# TYPE {BUILD} gauge\n{BUILD}{{git_version=\"{GIT_VERSION}\",major=\"1\",minor=\"36\"}} 1"
    )
    .expect("writing to a text does not fail");
}

/// The first number of the line that begins with a word.
fn number_in(path: &str, word: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_begun_and_has_memory() {
        let mut text = String::new();
        write(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let started = value("process_start_time_seconds");
        assert!(started <= now + 2.0 && started > now - 86_400.0 * 365.0, "{started}");
    }
}
