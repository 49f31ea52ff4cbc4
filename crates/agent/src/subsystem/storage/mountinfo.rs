//! The kernel's table of mounts, `proc_pid_mountinfo(5)`, and what of it is worth asking.
//!
//! *Invariant:* nothing here touches a file system.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use crate::subsystem::CollectError;

/// File systems that keep no data of their own: windows into the kernel, memory, images that are
/// read-only and always full, layers over a file system that is counted already, and mount points
/// that only mount something once they are touched.
const NOT_STORAGE: [&str; 40] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "cramfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fuse.squashfuse",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "overlay",
    "pipefs",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
];

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `major:minor` of the file system; the same for everything that is bound from it.
    pub(super) device: Vec<u8>,
    /// Which directory of the file system is mounted.
    pub(super) root: Vec<u8>,
    pub(super) mount_point: PathBuf,
    pub(super) read_only: bool,
    pub(super) fs: Vec<u8>,
    pub(super) source: Vec<u8>,
}

/// Reads the table.
pub(super) fn parse(table: &[u8]) -> Result<Vec<Mount>, CollectError> {
    table
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                CollectError::unparsable("the table of mounts", &String::from_utf8_lossy(line))
            })
        })
        .collect()
}

/// `36 35 98:0 /root /mount rw,noatime [optional…] - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let (device, root, mount_point, options) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    let (fs, source) = (fields.next()?, fields.next()?);
    let super_options = fields.next().unwrap_or_default();
    Some(Mount {
        device: device.to_vec(),
        root: unescaped(root),
        mount_point: PathBuf::from(OsString::from_vec(unescaped(mount_point))),
        read_only: says_read_only(options) || says_read_only(super_options),
        fs: unescaped(fs),
        source: unescaped(source),
    })
}

fn says_read_only(options: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == b"ro")
}

/// The kernel writes space, tab, line feed and backslash as `\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            (_, _) => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// Which mount points to ask: one group for each file system, its best mount point first.
pub(super) fn plan(table: Vec<Mount>) -> Vec<Vec<Mount>> {
    // What was mounted last on a mount point hides what was there before.
    let mut visible: BTreeMap<PathBuf, Mount> = BTreeMap::new();
    for mount in table {
        visible.insert(mount.mount_point.clone(), mount);
    }
    let mut groups: BTreeMap<Vec<u8>, Vec<Mount>> = BTreeMap::new();
    for mount in visible.into_values().filter(is_storage) {
        groups.entry(mount.device.clone()).or_default().push(mount);
    }
    for group in groups.values_mut() {
        // The whole file system before a part of it, then the one nearest to the root.
        group.sort_by_key(|mount| {
            let depth = mount.mount_point.components().count();
            (mount.root != b"/", depth, mount.mount_point.clone())
        });
    }
    groups.into_values().collect()
}

/// Whatever is mounted on `/` counts: in a container that is a layer, on a diskless host memory.
fn is_storage(mount: &Mount) -> bool {
    mount.mount_point == Path::new("/")
        || !NOT_STORAGE.iter().any(|fs| fs.as_bytes() == mount.fs.as_slice())
}
