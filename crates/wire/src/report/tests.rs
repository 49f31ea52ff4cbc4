//! Reports as they travel, and those that are too long.

use super::*;

fn system() -> SystemReport {
    SystemReport {
        hostname: "web-1".into(),
        os: OsReport {
            name: "Debian GNU/Linux".into(),
            version: "12".into(),
            arch: "x86_64".into(),
        },
        kernel: "6.1.0-37-amd64".into(),
        uptime_s: 3_600,
        cpu: CpuReport { model: "A model".into(), cores: 2, usage_percent: 12.5 },
        memory: MemoryReport {
            total_bytes: 8,
            used_bytes: 3,
            available_bytes: 5,
            swap_total_bytes: 0,
            swap_used_bytes: 0,
        },
        load: LoadReport { load_1m: 0.25, load_5m: 0.5, load_15m: 1.0 },
        processes: ProcessesReport {
            count: 1,
            top_by_memory: vec![ProcessReport {
                name: "init".into(),
                pid: 1,
                memory_bytes: 4_096,
                cpu_usage_percent: 0.0,
            }],
        },
        reboot_required: Some(true),
        reboot_packages: vec!["linux-image-amd64".into()],
    }
}

fn storage() -> StorageReport {
    StorageReport {
        mounts: vec![MountReport {
            mount_point: "/".into(),
            device: "/dev/vda".into(),
            fs: "ext4".into(),
            total_bytes: 100,
            used_bytes: 81,
            free_bytes: 19,
            used_percent: 81.0,
            level: StorageLevel::Warning,
            read_only: false,
        }],
        unreadable: vec![UnreadableMount { mount_point: "/nfs".into(), reason: "stale".into() }],
        truncated: false,
    }
}

fn updates() -> UpdatesReport {
    UpdatesReport {
        manager: PackageManager::Apt,
        pending: 1,
        security_pending: 1,
        packages: vec![PendingPackage {
            name: "bash".into(),
            architecture: "amd64".into(),
            current: "5.2-1".into(),
            available: "5.2-2".into(),
            security: true,
            repository: "http://deb.debian.org/debian bookworm/main".into(),
        }],
        truncated: false,
        refreshed_at: Some(Timestamp::from_seconds(0)),
    }
}

#[test]
fn json_names_the_subsystem_and_the_units() {
    let json = serde_json::to_value(SubsystemReport::System(system())).unwrap();
    assert_eq!(json["subsystem"], "system");
    assert_eq!(json["memory"]["total_bytes"], 8);
    assert_eq!(json["load"]["load_1m"], 0.25);
    assert_eq!(json["uptime_s"], 3_600);
    assert_eq!(json["cpu"]["usage_percent"], 12.5);
    let json = serde_json::to_value(SubsystemReport::Storage(storage())).unwrap();
    assert_eq!(json["subsystem"], "storage");
    assert_eq!(json["mounts"][0]["level"], "warning");
    let json = serde_json::to_value(SubsystemReport::Updates(updates())).unwrap();
    assert_eq!(json["subsystem"], "updates");
    assert_eq!(json["manager"], "apt");
    assert_eq!(json["refreshed_at"], "1970-01-01T00:00:00.000000Z");
}

fn containers() -> ContainersReport {
    ContainersReport {
        engine: Some(EngineReport {
            name: "docker".into(),
            version: "29.0.1".into(),
            socket: "/run/docker.sock".into(),
        }),
        running: 1,
        total: 1,
        unhealthy: 0,
        containers: vec![ContainerReport {
            id: "9cd87474be90".into(),
            name: "web".into(),
            image: "nginx:1.27".into(),
            state: "running".into(),
            status: "Up 5 minutes (healthy)".into(),
            health: Some(ContainerHealth::Healthy),
            created_at: Some(Timestamp::from_seconds(1)),
            ports: vec![PortReport {
                private: 80,
                public: Some(8_080),
                address: "0.0.0.0".into(),
                protocol: "tcp".into(),
            }],
            compose_project: Some("shop".into()),
            compose_service: Some("web".into()),
        }],
        images_total: 1,
        images: vec![ImageReport {
            id: "e216a057b1cb".into(),
            tags: vec!["nginx:1.27".into()],
            size_bytes: 1,
            created_at: None,
        }],
        truncated: false,
    }
}

#[test]
fn a_report_reads_back_as_it_was_written_and_knows_its_subsystem() {
    for (report, subsystem) in [
        (SubsystemReport::System(system()), Subsystem::System),
        (SubsystemReport::Storage(storage()), Subsystem::Storage),
        (SubsystemReport::Updates(updates()), Subsystem::Updates),
        (SubsystemReport::Containers(containers()), Subsystem::Containers),
    ] {
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<SubsystemReport>(&text).unwrap(), report);
        assert_eq!(report.subsystem(), subsystem);
        assert!(text.contains(&format!(r#""subsystem":"{}""#, subsystem.as_str())), "{text}");
        assert_eq!(report.check(), Ok(()));
    }
}

#[test]
fn fields_of_a_newer_agent_do_not_break_an_older_server() {
    let mut json = serde_json::to_value(SubsystemReport::Storage(storage())).unwrap();
    json["inodes"] = 1.into();
    assert!(serde_json::from_value::<SubsystemReport>(json).is_ok());
}

#[test]
fn levels_change_at_80_90_and_95_percent() {
    for (percent, level) in [
        (0.0, StorageLevel::Ok),
        (79.9, StorageLevel::Ok),
        (80.0, StorageLevel::Warning),
        (89.9, StorageLevel::Warning),
        (90.0, StorageLevel::High),
        (94.9, StorageLevel::High),
        (95.0, StorageLevel::Critical),
        (100.0, StorageLevel::Critical),
    ] {
        assert_eq!(StorageLevel::of(percent), level, "{percent}");
    }
}

#[test]
fn every_list_has_its_limit() {
    let mut report = system();
    report.processes.top_by_memory =
        vec![report.processes.top_by_memory[0].clone(); TOP_PROCESSES_MAX + 1];
    assert_too_long(SubsystemReport::System(report), "processes.top_by_memory", TOP_PROCESSES_MAX);
    let mut report = system();
    report.reboot_packages = vec![String::new(); REBOOT_PACKAGES_MAX + 1];
    assert_too_long(SubsystemReport::System(report), "reboot_packages", REBOOT_PACKAGES_MAX);
    let mut report = storage();
    report.mounts = vec![report.mounts[0].clone(); MOUNTS_MAX + 1];
    assert_too_long(SubsystemReport::Storage(report), "mounts", MOUNTS_MAX);
    let mut report = storage();
    report.unreadable = vec![report.unreadable[0].clone(); MOUNTS_MAX + 1];
    assert_too_long(SubsystemReport::Storage(report), "unreadable", MOUNTS_MAX);
    let mut report = updates();
    report.packages = vec![report.packages[0].clone(); PACKAGES_MAX + 1];
    assert_too_long(SubsystemReport::Updates(report), "packages", PACKAGES_MAX);
    let mut report = containers();
    report.images = vec![report.images[0].clone(); IMAGES_MAX + 1];
    assert_too_long(SubsystemReport::Containers(report), "images", IMAGES_MAX);
    let mut report = containers();
    report.images[0].tags = vec![String::new(); TAGS_MAX + 1];
    assert_too_long(SubsystemReport::Containers(report), "images.tags", TAGS_MAX);
    let mut report = containers();
    let port = report.containers[0].ports[0].clone();
    report.containers[0].ports = vec![port; PORTS_MAX + 1];
    assert_too_long(SubsystemReport::Containers(report), "containers.ports", PORTS_MAX);
    let mut report = containers();
    report.containers = vec![report.containers[0].clone(); CONTAINERS_MAX + 1];
    assert_too_long(SubsystemReport::Containers(report), "containers", CONTAINERS_MAX);
}

fn assert_too_long(report: SubsystemReport, field: &'static str, max: usize) {
    assert_eq!(report.check(), Err(ReportTooLong { field, max }));
}

/// Makes every text of `json` too long in turn; free of any list of fields, so that a new field
/// without a limit fails here.
#[test]
fn every_text_has_its_limit() {
    for report in [
        SubsystemReport::System(system()),
        SubsystemReport::Storage(storage()),
        SubsystemReport::Updates(updates()),
        SubsystemReport::Containers(containers()),
    ] {
        let json = serde_json::to_value(report).unwrap();
        let mut paths = Vec::new();
        texts(&json, String::new(), &mut paths);
        assert!(!paths.is_empty());
        for path in paths {
            let mut changed = json.clone();
            *changed.pointer_mut(&path).unwrap() = "ä".repeat(TEXT_CHARS_MAX).into();
            // What is no free text (a level, a time) does not even parse.
            let Ok(report) = serde_json::from_value::<SubsystemReport>(changed.clone()) else {
                continue;
            };
            assert_eq!(report.check(), Ok(()), "{path}");
            *changed.pointer_mut(&path).unwrap() = "ä".repeat(TEXT_CHARS_MAX + 1).into();
            let report: SubsystemReport = serde_json::from_value(changed).unwrap();
            assert!(report.check().is_err(), "{path} has no limit");
        }
    }
}

fn texts(json: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match json {
        serde_json::Value::String(_) => found.push(at),
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(item, format!("{at}/{index}"), found);
            }
        }
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                texts(value, format!("{at}/{name}"), found);
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}
