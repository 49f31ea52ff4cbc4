//! Mounts as hosts list them, and what the report makes of them.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A host with everything that makes counting hard.
const TABLE: &str = r"
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
28 27 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1624k
30 27 8:2 / /home rw shared:7 master:2 - xfs /dev/sda2 rw
31 27 8:2 /alice /srv/alice ro,relatime - xfs /dev/sda2 rw
32 27 8:1 /etc/hosts /srv/hosts rw - ext4 /dev/sda1 rw
33 27 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
34 27 0:60 / /mnt/My\040Files\134old rw - nfs4 nas:/files rw
35 27 0:61 / /gone rw - nfs4 nas:/gone rw
36 27 0:62 / /boot/efi rw - vfat /dev/sda3 ro
37 27 0:63 / /over rw - ext4 /dev/hidden rw
38 37 0:64 / /over rw - ext4 /dev/shown rw
39 27 0:65 / /layers/1/merged rw - overlay overlay rw,lowerdir=/a
40 27 0:66 / /empty rw - fuse.sshfs host: rw
";

fn fill(used_bytes: u64, free_bytes: u64) -> io::Result<Option<Fill>> {
    Ok(Some(Fill { total_bytes: used_bytes + free_bytes, used_bytes, free_bytes }))
}

fn reported_of(table: &str) -> StorageReport {
    let plan = mountinfo::plan(mountinfo::parse(table.as_bytes()).unwrap());
    report(plan, |path| match path.to_str().unwrap() {
        "/" => fill(799, 201),
        "/home" => fill(95, 5),
        "/mnt/My Files\\old" => fill(90, 10),
        "/boot/efi" => fill(80, 20),
        "/over" => fill(0, 0),
        "/gone" => Err(io::Error::other("stale file handle")),
        "/empty" => Ok(None),
        other => panic!("{other} should not be asked"),
    })
}

#[test]
fn every_file_system_is_counted_once_and_only_if_it_keeps_data() {
    let report = reported_of(TABLE);
    let seen: HashMap<_, _> = report
        .mounts
        .iter()
        .map(|mount| (mount.mount_point.as_str(), (mount.device.as_str(), mount.level)))
        .collect();
    let expected = HashMap::from([
        ("/", ("/dev/sda1", StorageLevel::Ok)),
        ("/home", ("/dev/sda2", StorageLevel::Critical)),
        ("/mnt/My Files\\old", ("nas:/files", StorageLevel::High)),
        ("/boot/efi", ("/dev/sda3", StorageLevel::Warning)),
        ("/over", ("/dev/shown", StorageLevel::Critical)),
    ]);
    assert_eq!(seen, expected);
    assert!(report.mounts.is_sorted_by_key(|mount| mount.mount_point.clone()));
    assert!(report.mounts.iter().all(|m| m.read_only == (m.mount_point == "/boot/efi")));
}

#[test]
fn what_cannot_be_asked_is_reported_and_not_left_out() {
    let expected =
        [UnreadableMount { mount_point: "/gone".into(), reason: "stale file handle".into() }];
    assert_eq!(reported_of(TABLE).unreadable, expected);
}

#[test]
fn a_bound_directory_stands_in_where_the_whole_is_not_visible() {
    let table = "1 1 8:2 /etc/hosts /etc/hosts rw - xfs /dev/sda2 rw\n\
                 2 1 8:2 /volumes/data /data rw - xfs /dev/sda2 rw\n\
                 3 1 0:9 / / rw - overlay overlay rw\n";
    let plan = mountinfo::plan(mountinfo::parse(table.as_bytes()).unwrap());
    let report = report(plan, |path| match path.to_str().unwrap() {
        "/etc/hosts" => Ok(None),
        _ => fill(1, 1),
    });
    let seen: Vec<_> = report.mounts.iter().map(|mount| mount.mount_point.as_str()).collect();
    assert_eq!(seen, ["/", "/data"]);
}

#[test]
fn a_host_with_too_many_mounts_shows_the_fullest() {
    let table: String = (0..MOUNTS_MAX + 10)
        .map(|n| format!("1 1 9:{n} / /m{n} rw - ext4 /dev/m{n} rw\n"))
        .collect();
    let plan = mountinfo::plan(mountinfo::parse(table.as_bytes()).unwrap());
    let report = report(plan, |path| {
        let used: u64 = path.to_str().unwrap()[2..].parse().unwrap();
        fill(used, 1_000 - used)
    });
    assert!(report.truncated);
    assert_eq!(report.mounts.len(), MOUNTS_MAX);
    assert!(report.mounts.iter().all(|mount| mount.used_bytes >= 10));
    SubsystemReport::Storage(report).check().unwrap();
}

#[test]
fn a_line_that_is_not_understood_is_named() {
    let error = mountinfo::parse(b"1 2 8:1 / /data rw").unwrap_err().to_string();
    assert!(error.contains("table of mounts") && error.contains("/data"), "{error}");
}

proptest! {
    #[test]
    fn no_table_makes_it_panic(table: Vec<u8>) {
        let _ = mountinfo::parse(&table).map(mountinfo::plan);
    }

    #[test]
    fn no_likely_table_makes_it_panic(table in "([0-9]{1,2} 1 0:[0-9] /[a\\\\0-9]{0,5} /[a\\\\0-9]{0,9} (ro|rw) - (ext4|proc) [a\\\\0-7 ]{0,6} rw\n){0,5}") {
        let plan = mountinfo::plan(mountinfo::parse(table.as_bytes()).unwrap_or_default());
        let report = report(plan, |_| fill(1, 2));
        prop_assert!(SubsystemReport::Storage(report).check().is_ok());
    }
}

#[tokio::test]
async fn this_host_has_a_root_that_is_neither_empty_nor_overfull() {
    let report = StorageCollector::default().collect().await.unwrap();
    report.check().unwrap();
    let SubsystemReport::Storage(report) = report else { panic!("another report") };
    let root = report.mounts.iter().find(|mount| mount.mount_point == "/").unwrap();
    assert!(root.total_bytes > 0 && root.used_bytes <= root.total_bytes, "{root:?}");
    assert!((0.0..=100.0).contains(&root.used_percent), "{root:?}");
    assert!(!root.fs.is_empty() && !root.device.is_empty(), "{root:?}");
    assert!(report.mounts.iter().all(|mount| mount.fs != "proc" && mount.fs != "sysfs"));
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_named() {
    let collector =
        StorageCollector { mountinfo: "/no/such/table".into(), ..StorageCollector::default() };
    let error = collector.collect().await.unwrap_err();
    assert_eq!(error.to_string(), "/no/such/table could not be read");
}
