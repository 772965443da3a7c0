//! Security contexts of pods and containers.

use gantry_machinery::value::Value;

use super::view::{Held, view};
use super::volume::check_local_path;
use super::{Errors, Path, name};

view! {
    struct PodSecurity {
        fs_group: "fsGroup",
        fs_group_policy: "fsGroupChangePolicy",
        run_as_user: "runAsUser",
        run_as_group: "runAsGroup",
        groups: "supplementalGroups",
        groups_policy: "supplementalGroupsPolicy",
        sysctls: "sysctls",
        seccomp: "seccompProfile",
        app_armor: "appArmorProfile",
        windows: "windowsOptions",
        se_linux_change: "seLinuxChangePolicy",
    }
}

/// A pod's `securityContext`; `spec` for what stands beside it.
pub fn check_pod_context(context: &Value, spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    if context.as_object().is_none_or(gantry_machinery::value::Object::is_empty) {
        return;
    }
    let given = PodSecurity::of(context);
    for (field, id) in
        [("fsGroup", given.fs_group), ("runAsUser", given.run_as_user), ("runAsGroup", given.run_as_group)]
    {
        check_id(id, &at.child(field), errors);
    }
    let groups = at.child("supplementalGroups");
    for (n, group) in given.groups.items().iter().enumerate() {
        check_id(Some(group), &groups.index(n), errors);
    }
    if spec.get("hostPID").truth() && spec.get("shareProcessNamespace").truth() {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.child("shareProcessNamespace"), true, detail);
    }
    check_sysctls(given.sysctls.items(), spec, &at.child("sysctls"), errors);
    check_choice(given.fs_group_policy, &["Always", "OnRootMismatch"], &at.child("fsGroupChangePolicy"), errors);
    check_profile(given.seccomp, Kind::Seccomp, &at.child("seccompProfile"), errors);
    check_windows(given.windows, &at.child("windowsOptions"), errors);
    check_profile(given.app_armor, Kind::AppArmor, &at.child("appArmorProfile"), errors);
    check_choice(given.groups_policy, &["Merge", "Strict"], &at.child("supplementalGroupsPolicy"), errors);
    // The other way, by mount options, is behind a gate that is off (SELinuxMount).
    check_choice(given.se_linux_change, &["Recursive"], &at.child("seLinuxChangePolicy"), errors);
}

view! {
    struct Security {
        privileged: "privileged",
        run_as_user: "runAsUser",
        run_as_group: "runAsGroup",
        proc_mount: "procMount",
        seccomp: "seccompProfile",
        app_armor: "appArmorProfile",
        escalation: "allowPrivilegeEscalation",
        capabilities: "capabilities",
        windows: "windowsOptions",
    }
}

/// A container's `securityContext`; `host_users` is whether the pod shares the host's user namespace.
pub fn check_context(context: &Value, host_users: bool, at: &Path<'_>, errors: &mut Errors) {
    let given = Security::of(context);
    check_id(given.run_as_user, &at.child("runAsUser"), errors);
    check_id(given.run_as_group, &at.child("runAsGroup"), errors);
    if given.proc_mount.is_some() {
        let at = at.child("procMount");
        check_choice(given.proc_mount, &["Default", "Unmasked"], &at, errors);
        if host_users && given.proc_mount.text() == "Unmasked" {
            errors.invalid(&at, "Unmasked", "`hostUsers` must be false to use `Unmasked`");
        }
    }
    check_profile(given.seccomp, Kind::Seccomp, &at.child("seccompProfile"), errors);
    if given.escalation.and_then(Value::as_bool) == Some(false) {
        if given.privileged.truth() {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(at, context, detail);
        }
        for added in given.capabilities.and_then(|c| c.get("add")).items() {
            if added.as_str() == Some("CAP_SYS_ADMIN") {
                let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
                errors.invalid(at, context, detail);
            }
        }
    }
    check_windows(given.windows, &at.child("windowsOptions"), errors);
    check_profile(given.app_armor, Kind::AppArmor, &at.child("appArmorProfile"), errors);
}

fn check_id(id: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(id) = id.int() {
        name::range(id, 0, i64::from(i32::MAX), at, errors);
    }
}

/// An optional text that must be one of a few.
pub fn check_choice(value: Option<&Value>, allowed: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if value.is_some() && !allowed.contains(&value.text()) {
        errors.not_supported(at, value.text(), allowed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Seccomp,
    AppArmor,
}

fn check_profile(profile: Option<&Value>, kind: Kind, at: &Path<'_>, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let (field, title) = match kind {
        Kind::Seccomp => ("seccompProfile", "seccomp"),
        Kind::AppArmor => ("appArmorProfile", "AppArmor"),
    };
    let local = profile.get("localhostProfile").filter(|l| !l.is_null());
    let local_at = at.child("localhostProfile");
    match profile.get("type").text() {
        "" => errors.required(&at.child("type"), format!("type is required when {field} is set")),
        "Localhost" => {
            let missing = || format!("must be set when {title} type is Localhost");
            match (local.and_then(Value::as_str), kind) {
                (None, _) => errors.required(&local_at, missing()),
                (Some(path), Kind::Seccomp) => check_local_path(path, &local_at, errors),
                (Some(path), Kind::AppArmor) => {
                    if path.trim() != path {
                        errors.invalid(&local_at, path, "must not be padded with whitespace");
                    } else if path.is_empty() {
                        errors.required(&local_at, missing());
                    }
                    if path.len() > 4095 {
                        errors.too_long(&local_at, 4095);
                    }
                }
            }
            return;
        }
        "RuntimeDefault" | "Unconfined" => {}
        other => {
            errors.not_supported(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
            if kind == Kind::AppArmor {
                return;
            }
        }
    }
    if let Some(local) = local {
        let detail = format!("can only be set when {title} type is Localhost");
        match kind {
            Kind::Seccomp => errors.invalid(&local_at, profile, detail),
            Kind::AppArmor => errors.invalid(&local_at, local, detail),
        }
    }
}

fn check_sysctls(sysctls: &[Value], spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (n, sysctl) in sysctls.iter().enumerate() {
        let at = at.index(n);
        let name_at = at.child("name");
        let text = sysctl.get("name").text();
        if text.is_empty() {
            errors.required(&name_at, "");
        } else if !is_sysctl(text) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&name_at, text, detail);
        } else if sysctls[..n].iter().any(|s| s.get("name").text() == text) {
            errors.duplicate(&name_at, text);
        }
        // Kernel settings of a namespace shared with the host are the host's.
        let plain = text.replace('/', ".");
        if spec.get("hostNetwork").truth() && plain.starts_with("net.") {
            errors.invalid(&name_at, text, "may not be specified when 'hostNetwork' is true");
        } else if spec.get("hostIPC").truth() && is_ipc(&plain) {
            errors.invalid(&name_at, text, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_ipc(sysctl: &str) -> bool {
    sysctl.starts_with("kernel.shm")
        || sysctl.starts_with("kernel.msg")
        || sysctl.starts_with("fs.mqueue.")
        || sysctl == "kernel.sem"
}

fn is_sysctl(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let segment = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|b| edge(*b))
            && bytes.last().is_some_and(|b| edge(*b))
            && bytes.iter().all(|b| edge(*b) || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253 && text.split(['.', '/']).all(segment)
}

fn check_windows(options: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(options) = options else { return };
    if let Some(text) = options.str_at(&["gmsaCredentialSpecName"]) {
        name::subdomain(text, &at.child("gmsaCredentialSpecName"), errors);
    }
    if let Some(text) = options.str_at(&["gmsaCredentialSpec"]) {
        let at = at.child("gmsaCredentialSpec");
        if text.is_empty() {
            errors.invalid(&at, text, "gmsaCredentialSpec cannot be an empty string");
        } else if text.len() > 64 * 1024 {
            errors.invalid(&at, text, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(text) = options.str_at(&["runAsUserName"]) {
        check_windows_user(text, &at.child("runAsUserName"), errors);
    }
}

/// `DOMAIN\user`, or the user alone.
fn check_windows_user(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let mut wrong = |detail: &str| errors.invalid(at, text, format!("runAsUserName{detail}"));
    if text.is_empty() {
        return wrong(" cannot be an empty string");
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        return wrong(" cannot contain control characters");
    }
    let parts: Vec<&str> = text.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return wrong(" cannot contain more than one backslash"),
    };
    if domain.is_some_and(|domain| domain.len() >= 256) {
        wrong("'s Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns_domain(domain)) {
        wrong("'s Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        wrong("'s User cannot be empty");
    } else if user.len() > 104 {
        wrong("'s User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrong("'s User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        wrong(r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Windows' host processes: all containers or none, and in the host's network.
pub fn check_host_process(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let of = |holder: &Value| holder.bool_at(&["securityContext", "windowsOptions", "hostProcess"]);
    let pod = of(spec);
    let (mut all, mut host) = (0, 0);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let list_at = at.child(list);
        for (n, container) in spec.get(list).items().iter().enumerate() {
            let own = of(container);
            all += 1;
            if let (Some(pod), Some(own)) = (pod, own)
                && pod != own
            {
                let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
                let item = list_at.index(n);
                errors.invalid(&item.child("securityContext.windowsOptions.hostProcess"), own, detail);
            }
            host += i32::from(own.or(pod) == Some(true));
        }
    }
    if host == 0 {
        return;
    }
    if host != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(at, "", detail);
    }
    if !spec.get("hostNetwork").truth() {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&at.child("hostNetwork"), false, detail);
    }
}

/// What a pod of another operating system may not set, after `os.name` has been checked.
pub fn check_os(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let os = spec.at(&["os", "name"]).text();
    let (fields, detail): (&[&str], _) = match os {
        "linux" => (&["windowsOptions"], "windows options cannot be set for a linux pod"),
        "windows" => (
            &[
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "sysctls",
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seLinuxChangePolicy",
            ],
            "cannot be set for a windows pod",
        ),
        _ => return,
    };
    check_absent(spec.get("securityContext"), fields, detail, &at.child("securityContext"), errors);
    if os == "windows" {
        check_absent(Some(spec), &["hostUsers"], detail, at, errors);
        for field in ["hostPID", "hostIPC"] {
            if spec.get(field).truth() {
                errors.forbidden(&at.child(field), detail);
            }
        }
        check_absent(Some(spec), &["shareProcessNamespace"], detail, at, errors);
    }
    let fields: &[&str] = match os {
        "linux" => fields,
        _ => &[
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ],
    };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let list_at = at.child(list);
        for (n, container) in spec.get(list).items().iter().enumerate() {
            let at = list_at.index(n);
            check_absent(container.get("securityContext"), fields, detail, &at.child("securityContext"), errors);
        }
    }
}

fn check_absent(object: Option<&Value>, fields: &[&str], detail: &str, at: &Path<'_>, errors: &mut Errors) {
    for field in fields {
        if object.and_then(|o| o.get(field)).is_some_and(|v| !v.is_null()) {
            errors.forbidden(&at.child(field), detail);
        }
    }
}

/// The pod's annotations that stand for security settings (deprecated, still checked).
pub fn check_annotations(annotations: &Value, spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (key, value) in Some(annotations).entries() {
        let text = value.as_str().unwrap_or_default();
        if key == "kubernetes.io/config.mirror" && spec.get("nodeName").text().is_empty() {
            errors.invalid(&at.key(key), text, "must set spec.nodeName if mirror pod annotation is set");
        } else if key == "controller.kubernetes.io/pod-deletion-cost" && !is_deletion_cost(text) {
            errors.invalid(&at.key(key), text, "must be a 32bit integer");
        } else if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            if let Some(path) = text.strip_prefix("localhost/") {
                check_local_path(path, &at.child(key), errors);
            } else if !matches!(text, "runtime/default" | "docker/default" | "unconfined") {
                errors.invalid(&at.child(key), text, "must be a valid seccomp profile");
            }
        } else if let Some(container) = key.strip_prefix("container.apparmor.security.beta.kubernetes.io/") {
            let lists = ["initContainers", "containers", "ephemeralContainers"];
            let all = lists.iter().flat_map(|list| spec.get(list).items());
            if !all.into_iter().any(|c| c.get("name").text() == container) {
                errors.invalid(&at.key(key), container, "container not found");
            }
            if !matches!(text, "" | "runtime/default" | "unconfined") && !text.starts_with("localhost/") {
                errors.invalid(&at.key(key), text, format!("invalid AppArmor profile name: {text:?}"));
            }
        }
    }
}

fn is_deletion_cost(text: &str) -> bool {
    // Signs but no leading zeros, as upstream reads it.
    let digits = text.strip_prefix('-').unwrap_or(text);
    (digits == "0" || !digits.starts_with('0')) && !text.starts_with('+') && text.parse::<i32>().is_ok()
}

/// The annotations that stand for seccomp and AppArmor profiles say the same as the fields, where a new pod has both.
pub fn check_annotations_match(annotations: &Value, spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let annotation = |key: &str| annotations.get(key).and_then(Value::as_str);
    let profile =
        |holder: &'_ Value, field: &str| holder.at(&["securityContext", field]).filter(|p| !p.is_null()).cloned();
    if let (Some(field), Some(said)) =
        (profile(spec, "seccompProfile"), annotation("seccomp.security.alpha.kubernetes.io/pod"))
    {
        check_match(&field, said, Kind::Seccomp, &at.child("securityContext.seccompProfile"), errors);
    }
    let windows = spec.at(&["os", "name"]).text() == "windows";
    let pod_armor = profile(spec, "appArmorProfile");
    for kind in [Kind::Seccomp, Kind::AppArmor] {
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            let list_at = at.child(list);
            for (n, container) in spec.get(list).items().iter().enumerate() {
                let name = container.get("name").text();
                let item = list_at.index(n);
                let (field, key, place) = match kind {
                    Kind::Seccomp => (
                        profile(container, "seccompProfile"),
                        format!("container.seccomp.security.alpha.kubernetes.io/{name}"),
                        item.child("securityContext.seccompProfile"),
                    ),
                    Kind::AppArmor if windows => continue,
                    Kind::AppArmor => (
                        profile(container, "appArmorProfile").or_else(|| pod_armor.clone()),
                        format!("container.apparmor.security.beta.kubernetes.io/{name}"),
                        item.child("securityContext.appArmorProfile"),
                    ),
                };
                if let (Some(field), Some(said)) = (field, annotation(&key)) {
                    check_match(&field, said, kind, &place, errors);
                }
            }
        }
    }
}

fn check_match(field: &Value, said: &str, kind: Kind, at: &Path<'_>, errors: &mut Errors) {
    let what = if kind == Kind::Seccomp { "seccomp" } else { "apparmor" };
    let agrees = match field.get("type").text() {
        "Unconfined" => said == "unconfined",
        "RuntimeDefault" => said == "runtime/default" || (kind == Kind::Seccomp && said == "docker/default"),
        "Localhost" => match said.strip_prefix("localhost/") {
            None => false,
            Some(path) => {
                if field.get("localhostProfile").and_then(Value::as_str) != Some(path) {
                    let detail = format!("{what} profile in annotation and field must match");
                    errors.forbidden(&at.child("localhostProfile"), detail);
                }
                true
            }
        },
        _ => true,
    };
    if !agrees {
        errors.forbidden(&at.child("type"), format!("{what} type in annotation and field must match"));
    }
}
