//! Owner and permissions of a file.

use std::fs::Metadata;
use std::path::Path;

use super::trust::TrustError;

#[cfg(unix)]
pub(super) use unix::{check_folder_owner, check_owner, check_readers, check_writers, is_on_read_only_mount, is_ours};
#[cfg(unix)]
pub(super) use unix::{is_root, is_roots, is_sticky};

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::StatVfsMountFlags;

    use super::{Metadata, Path, TrustError};

    /// Bytes that are read of a list of users or groups.
    const LARGEST_LIST: u64 = 1024 * 1024;

    /// What Linux shows for users who are not mapped into a user namespace.
    const OVERFLOW_UID: u32 = 65_534;

    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    pub(in crate::files) fn is_root() -> bool {
        user() == 0
    }

    pub(in crate::files) fn is_ours(owner: u32) -> bool {
        owner == user()
    }

    pub(in crate::files) fn is_roots(metadata: &Metadata) -> bool {
        metadata.uid() == 0
    }

    pub(in crate::files) fn is_sticky(metadata: &Metadata) -> bool {
        metadata.mode() & 0o1000 != 0
    }

    pub(in crate::files) fn is_on_read_only_mount(path: &Path) -> bool {
        rustix::fs::statvfs(path).is_ok_and(|status| status.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    pub(in crate::files) fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
        let owner = metadata.uid();
        if owner == 0 || owner == user() {
            return Ok(());
        }
        Err(TrustError::ForeignOwner { path: path.to_owned(), owner })
    }

    pub(in crate::files) fn check_folder_owner(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
        check_owner(path, metadata)
            .or_else(|error| if metadata.uid() == OVERFLOW_UID && is_in_user_namespace() { Ok(()) } else { Err(error) })
    }

    /// Whether this process sees only some of the machine's users, so that root's own files may show [`OVERFLOW_UID`].
    fn is_in_user_namespace() -> bool {
        let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return false };
        let mapped = map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(u64::MAX));
            let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
            let (first, count) = (first.unwrap_or(u64::MAX), count.unwrap_or(0));
            (first..first.saturating_add(count)).contains(&u64::from(OVERFLOW_UID))
        });
        !mapped
    }

    /// Checks that nobody but the owner, root and this user can write.
    pub(in crate::files) fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
        let mode = metadata.mode();
        let by_group = mode & 0o020 != 0 && (!is_private_group(metadata.gid()) || has_access_list(path));
        if mode & 0o002 == 0 && !by_group {
            return Ok(());
        }
        Err(TrustError::Writable { path: path.to_owned(), owner: metadata.uid() })
    }

    /// Checks that nobody but the owner and root can read.
    pub(in crate::files) fn check_readers(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
        if metadata.mode() & 0o077 == 0 { Ok(()) } else { Err(TrustError::Readable { path: path.to_owned() }) }
    }

    /// Whether an access control list may name further users: the group's bits are then the mask of all of them.
    fn has_access_list(path: &Path) -> bool {
        #[cfg(target_os = "linux")]
        {
            let mut list = [0_u8; 1024];
            let found = rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut list);
            !matches!(found, Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) | Ok(0))
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = path;
            false
        }
    }

    fn is_private_group(group: u32) -> bool {
        group == 0 || {
            let read = |path: &str| {
                let small = fs::metadata(path).is_ok_and(|list| list.is_file() && list.len() <= LARGEST_LIST);
                small.then(|| fs::read_to_string(path).ok()).flatten()
            };
            let lists = read("/etc/passwd").zip(read("/etc/group"));
            lists.is_some_and(|(users, groups)| is_group_of_one(group, user(), &users, &groups))
        }
    }

    /// Whether a group is the primary one of this user and of nobody else, and lists no other member. Users of a directory
    /// service are in neither list: their groups are not private as far as can be seen.
    fn is_group_of_one(group: u32, user: u32, users: &str, groups: &str) -> bool {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
        let mut name = None;
        for line in users.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if number(fields.get(3).copied()) != Some(group) {
                continue;
            }
            match number(fields.get(2).copied()) {
                Some(uid) if uid == user => name = fields.first().copied(),
                Some(0) => {}
                _ => return false,
            }
        }
        let Some(name) = name else { return false };
        groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).all(|fields| {
            let ours = number(fields.get(2).copied()) == Some(group);
            let members = fields.get(3).copied().unwrap_or_default().split(',');
            !ours || members.map(str::trim).all(|member| member.is_empty() || member == name || member == "root")
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const USERS: &str = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:100::/:/bin/sh\n\
                             eve:x:1002:100::/:/bin/sh\n";

        #[test]
        fn a_group_is_private_if_its_user_is_its_only_member() {
            let private = |groups: &str| is_group_of_one(1000, 1000, USERS, groups);
            assert!(private("root:x:0:\nann:x:1000:\nusers:x:100:bob,eve\n"));
            assert!(private("ann:x:1000:ann\n") && private(""));
            assert!(!private("ann:x:1000:ann,eve\n"));
            assert!(!private("ann:x:1000:\nalso-ann:x:1000:eve\n"));
            assert!(!is_group_of_one(100, 1001, USERS, ""), "the primary group of two");
            assert!(!is_group_of_one(1000, 1001, USERS, ""), "somebody else's");
            assert!(!is_group_of_one(1000, 4000, USERS, ""), "a user who is not listed");
        }
    }
}

/// A user's profile folder is the user's alone on Windows.
#[cfg(not(unix))]
mod other {
    use super::{Metadata, Path, TrustError};

    pub(in crate::files) fn check_owner(_: &Path, _: &Metadata) -> Result<(), TrustError> {
        Ok(())
    }

    pub(in crate::files) fn check_folder_owner(_: &Path, _: &Metadata) -> Result<(), TrustError> {
        Ok(())
    }

    pub(in crate::files) fn check_readers(_: &Path, _: &Metadata) -> Result<(), TrustError> {
        Ok(())
    }

    pub(in crate::files) fn check_writers(_: &Path, _: &Metadata) -> Result<(), TrustError> {
        Ok(())
    }

    pub(in crate::files) fn is_on_read_only_mount(_: &Path) -> bool {
        false
    }

    pub(in crate::files) fn is_ours(_: u32) -> bool {
        true
    }

    pub(in crate::files) fn is_root() -> bool {
        false
    }

    pub(in crate::files) fn is_roots(_: &Metadata) -> bool {
        false
    }

    pub(in crate::files) fn is_sticky(_: &Metadata) -> bool {
        true
    }
}
#[cfg(not(unix))]
pub(super) use other::{check_folder_owner, check_owner, check_readers, check_writers, is_on_read_only_mount, is_ours};
#[cfg(not(unix))]
pub(super) use other::{is_root, is_roots, is_sticky};
