//! Reports as tables.

use super::*;
use crate::output::{fleet::tests::web, tests::plain as view};
use serde_json::json;

fn item(subsystem: &str, report: Value) -> InventoryReport {
    InventoryReport {
        subsystem: subsystem.into(),
        captured_at: "2026-11-22T11:58:00Z".into(),
        received_at: "2026-11-22T11:58:01Z".into(),
        duration_ms: 40,
        report,
    }
}

fn system_json() -> Value {
    json!({
        "hostname": "web-1",
        "os": {"name": "Debian GNU/Linux", "version": "12", "arch": "x86_64"},
        "kernel": "6.1.0-37-amd64",
        "uptime_s": 273_600,
        "cpu": {"model": "EPYC", "cores": 2, "usage_percent": 12.4},
        "memory": {
            "total_bytes": 8_243_200_000u64, "used_bytes": 3_300_000_000u64,
            "available_bytes": 4_943_200_000u64, "swap_total_bytes": 0, "swap_used_bytes": 0
        },
        "load": {"load_1m": 0.36, "load_5m": 0.56, "load_15m": 0.69},
        "processes": {"count": 123, "top_by_memory": [
            {"name": "postgres", "pid": 42, "memory_bytes": 1_073_741_824u64, "cpu_usage_percent": 3.2}
        ]},
        "reboot_required": true,
        "reboot_packages": ["linux-image-amd64"]
    })
}

fn mount(at: &str, percent: f64, level: &str) -> Value {
    json!({
        "mount_point": at, "device": "/dev/vda1", "fs": "ext4", "total_bytes": 1_073_741_824u64,
        "used_bytes": 1, "free_bytes": 536_870_912, "used_percent": percent, "level": level,
        "read_only": false
    })
}

fn package(name: &str, security: bool) -> Value {
    json!({
        "name": name, "architecture": "amd64", "current": "1", "available": "2",
        "security": security, "repository": "debian"
    })
}

fn updates_json(packages: &[Value], pending: usize) -> Value {
    json!({
        "manager": "apt", "pending": pending, "security_pending": 1, "packages": packages,
        "truncated": false, "refreshed_at": "2026-11-22T09:00:00.000000Z"
    })
}

#[test]
fn a_system_reads_in_human_units() {
    let text = report(&view(), "web-1", &item("system", system_json()));
    for part in [
        "system of web-1  2m ago, took 40 ms",
        "Debian GNU/Linux 12 (x86_64)",
        "6.1.0-37-amd64",
        "3d 4h",
        "required by linux-image-amd64",
        "[#---------] 12 % busy of 2 cores, EPYC",
        "0.36 0.56 0.69",
        "[####------] 3.1 GiB of 7.7 GiB used (40 %), 4.6 GiB available",
        "1.0 GiB",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn storage_shows_percent_and_level_in_words() {
    let json = json!({
        "mounts": [mount("/", 50.0, "ok"), mount("/var", 96.2, "critical")],
        "unreadable": [{"mount_point": "/mnt", "reason": "stale file handle"}],
        "truncated": false
    });
    let text = report(&view(), "web-1", &item("storage", json));
    let line = text.lines().find(|line| line.contains("/var")).unwrap();
    assert!(line.contains("96 %") && line.contains("critical"), "{text}");
    assert!(text.contains("/mnt could not be asked: stale file handle"), "{text}");
}

#[test]
fn security_updates_come_first() {
    let packages = [package("aaa", false), package("zlib", true)];
    let text = report(&view(), "web-1", &item("updates", updates_json(&packages, 2)));
    assert!(text.contains("2 packages pending, 1 for security (apt, lists of 3h ago)"), "{text}");
    assert!(text.find("zlib").unwrap() < text.find("aaa").unwrap(), "{text}");
}

#[test]
fn the_overview_is_short_and_says_what_it_leaves_out() {
    let packages: Vec<Value> = (0..40).map(|n| package(&format!("p{n:02}"), n == 39)).collect();
    let all = Inventory {
        agent_id: "a-1".into(),
        items: vec![item("updates", updates_json(&packages, 40)), item("system", system_json())],
    };
    let text = inventory(&view(), &web("approved"), &all);
    assert!(text.find("system of").unwrap() < text.find("updates of").unwrap(), "{text}");
    assert!(
        text.contains("p39") && text.contains("… and 25 more: `argosy inventory web-1 updates`"),
        "{text}"
    );
    let whole = report(&view(), "web-1", &all.items[0]);
    assert!(whole.contains("p38") && !whole.contains("more"), "{whole}");
}

#[test]
fn nothing_pending_without_lists_is_not_up_to_date() {
    let json = json!({
        "manager": "apt", "pending": 0, "security_pending": 0, "packages": [],
        "truncated": false, "refreshed_at": null
    });
    let text = report(&view(), "web-1", &item("updates", json));
    assert!(text.contains("never fetched") && !text.contains("up to date"), "{text}");
}

#[test]
fn a_report_of_another_version_is_shown_as_it_is() {
    let text = report(&view(), "web-1", &item("containers", json!({"running": "a\u{1b}[2J"})));
    assert!(text.contains("\"running\"") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_silent_machine_can_be_asked() {
    let none = Inventory { agent_id: "a-1".into(), items: Vec::new() };
    let text = inventory(&view(), &web("approved"), &none);
    assert!(text.contains("argosy command send 0195-web-1"), "{text}");
    let away = Agent { connected: false, ..web("approved") };
    assert!(inventory(&view(), &away, &none).contains("not connected"));
}
