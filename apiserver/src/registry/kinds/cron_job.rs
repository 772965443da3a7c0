//! CronJob: jobs by the clock.

use gantry_machinery::time;
use gantry_machinery::value::Value;

use super::cells::{age_cell, container_cells, name_cell, or_none, selector_cell, text_cell};
use super::field::{fill, fill_with};
use super::{job, row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name};

/// CronJobs of `batch`.
#[derive(Debug)]
pub struct CronJobs;

view! {
    struct Spec {
        schedule: "schedule",
        zone: "timeZone",
        deadline: "startingDeadlineSeconds",
        concurrency: "concurrencyPolicy",
        template: "jobTemplate",
    }
}

const COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Schedule"),
    Column::string("Timezone"),
    Column::string("Suspend"),
    Column::integer("Active"),
    Column::string("Last Schedule"),
    Column::string("Age"),
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

impl Strategy for CronJobs {
    row!("batch", "v1", "cronjobs");

    fn default(&self, cron: &mut Value) {
        let spec = cron.force_object().object_entry("spec");
        fill(spec, "concurrencyPolicy", "Allow");
        fill_with(spec, "suspend", || Value::Bool(false));
        fill_with(spec, "successfulJobsHistoryLimit", || Value::Int(3));
        fill_with(spec, "failedJobsHistoryLimit", || Value::Int(1));
        let template = spec.object_entry("jobTemplate");
        fill_with(template, "metadata", Value::object);
        job::default_spec(template.object_entry("spec"));
        workload::default_status(cron);
    }

    fn check(&self, cron: &Value, errors: &mut Errors) {
        check_spec(cron, None, errors);
        // Eleven more characters follow in the names of its jobs.
        let name = cron.at(&["metadata", "name"]).text();
        if name.len() > 52 {
            errors.invalid(&Path::new("metadata.name"), name, "must be no more than 52 characters");
        }
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource.is_empty() {
            check_spec(new, Some(old), errors);
        }
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        workload::prepare_for_update(new, old, subresource);
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, cron: &Value, now: i64) -> Vec<Value> {
        let job = cron.at(&["spec", "jobTemplate", "spec"]);
        let [containers, images] = container_cells(job.and_then(|j| j.get("template")));
        let suspend = match cron.bool_at(&["spec", "suspend"]) {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let last = cron.str_at(&["status", "lastScheduleTime"]).map(|at| time::age(Some(at), now));
        let active = cron.array_at(&["status", "active"]).len();
        vec![
            name_cell(cron),
            text_cell(cron, &["spec", "schedule"]),
            or_none(cron.at(&["spec", "timeZone"]).text()),
            Value::from(suspend),
            Value::Int(i64::try_from(active).unwrap_or(i64::MAX)),
            or_none(&last.unwrap_or_default()),
            age_cell(cron, now),
            containers,
            images,
            selector_cell(job.and_then(|j| j.get("selector"))),
        ]
    }
}

fn check_spec(cron: &Value, old: Option<&Value>, errors: &mut Errors) {
    let null = Value::Null;
    let spec = cron.get("spec").unwrap_or(&null);
    let at = Path::new("spec");
    let given = Spec::of(spec);
    let was = old.map(|old| Spec::of(old.get("spec").unwrap_or(&null)));
    check_schedule(&given, was.as_ref(), &at, errors);
    if let Some(seconds) = given.deadline.int() {
        name::non_negative(seconds, &at.child("startingDeadlineSeconds"), errors);
    }
    if was.as_ref().is_none_or(|was| was.zone != given.zone)
        && let Some(zone) = given.zone.and_then(Value::as_str)
    {
        check_zone(zone, &at.child("timeZone"), errors);
    }
    let policies = &["Allow", "Forbid", "Replace"];
    name::one_of(given.concurrency.text(), policies, &at.child("concurrencyPolicy"), errors);
    let template = at.child("jobTemplate");
    let job_spec = given.template.and_then(|t| t.get("spec")).unwrap_or(&null);
    let spec_at = template.child("spec");
    job::check_spec(job_spec, &spec_at, errors);
    if let Some(selector) = job_spec.get("selector").filter(|selector| !selector.is_null()) {
        errors.invalid(&spec_at.child("selector"), selector, "`selector` will be auto-generated");
    }
    if job_spec.get("manualSelector").truth() {
        errors.not_supported_value(&spec_at.child("manualSelector"), true, &["nil", "false"]);
    }
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        if let Some(count) = spec.get(field).int() {
            name::non_negative(count, &at.child(field), errors);
        }
    }
}

fn check_schedule(given: &Spec<'_>, was: Option<&Spec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let schedule = given.schedule.text();
    let at = at.child("schedule");
    if schedule.is_empty() {
        return errors.required(&at, "");
    }
    if let Err(wrong) = parse(schedule) {
        errors.invalid(&at, schedule, wrong);
    }
    // A zone in the schedule stays where it has been since before there was a field for it.
    let old = was.is_some_and(|was| was.schedule.text().contains("TZ"));
    match (schedule.contains("TZ"), old) {
        (true, false) => {
            errors.invalid(&at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
        (true, true) if given.zone.is_some() => {
            errors.invalid(&at, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
        _ => {}
    }
}

/// Whether a zone can be one of the time zone database; whether it is there, the controller finds out.
fn check_zone(zone: &str, at: &Path<'_>, errors: &mut Errors) {
    if zone.is_empty() {
        return errors.invalid(at, zone, "timeZone must be nil or non-empty string");
    }
    let part = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !zone.split('/').all(part) {
        return errors.invalid(at, zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(at, zone, detail);
    }
}

/// The bounds of the five fields, and the names that two of them know.
const FIELDS: [(i64, i64, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Whether a schedule is one, in the words of the parser that upstream uses.
fn parse(schedule: &str) -> Result<(), String> {
    let schedule = match schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest.trim()),
        None => schedule,
    };
    if let Some(word) = schedule.strip_prefix('@') {
        let known = matches!(word, "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly");
        return if known || word.starts_with("every ") {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (field, (low, high, names)) in fields.into_iter().zip(FIELDS) {
        for range in field.split(',') {
            parse_range(range, low, high, names)?;
        }
    }
    Ok(())
}

fn parse_range(range: &str, low: i64, high: i64, names: &[&str]) -> Result<(), String> {
    let (span, step) = range.split_once('/').map_or((range, None), |(span, step)| (span, Some(step)));
    if let Some(step) = step {
        match step.parse::<i64>() {
            Ok(0) => return Err(format!("step of range should be a positive number: {range}")),
            Ok(n) if n > 0 => {}
            _ => {
                return Err(format!("failed to parse int from {step}: strconv.Atoi: parsing {step:?}: invalid syntax"));
            }
        }
    }
    if matches!(span, "*" | "?") {
        return Ok(());
    }
    let (first, last) = span.split_once('-').unwrap_or((span, span));
    let number = |text: &str| -> Result<i64, String> {
        let named = names.iter().position(|n| n.eq_ignore_ascii_case(text));
        match named.and_then(|n| i64::try_from(n).ok()) {
            Some(n) => Ok(n + low),
            None => text.parse().map_err(|_| {
                format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
            }),
        }
    };
    let (first, last) = (number(first)?, number(last)?);
    if first < low {
        Err(format!("beginning of range ({first}) below minimum ({low}): {range}"))
    } else if last > high {
        Err(format!("end of range ({last}) above maximum ({high}): {range}"))
    } else if first > last {
        Err(format!("beginning of range ({first}) beyond end of range ({last}): {range}"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_checked() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan mon-fri", "@hourly", "@every 1h"] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for (bad, said) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("@often", "unrecognized descriptor: @often"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
        ] {
            assert_eq!(parse(bad), Err(said.to_owned()));
        }
    }
}
