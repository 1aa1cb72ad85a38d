//! Which user and group ids of the host stand behind the ids inside.
//!
//! Started by root, the command gets a range of ids that no account has, so that even its root owns nothing of the
//! host. Started by a user, its root is that user; further ids come from `/etc/subuid` and `/etc/subgid` where the
//! machine has them. Choosing is pure: [`candidates`] lists what to try, best first.

use serde::{Deserialize, Serialize};

/// First host id of a sandbox that root starts: the last of the 65,536-wide slots that systemd sets aside for
/// containers (0x80000 to 0x6FFF_FFFF), which it hands out pseudo-randomly and accounts never get.
pub(crate) const HIGH_BASE: u32 = 0x6FFF_0000;

/// Ids inside: all that a distribution's packages can name, `nobody` (65,534) included.
pub(crate) const ID_COUNT: u32 = 65_536;

/// Consecutive ids inside and what they are outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// The id that it is for the caller.
    pub outside: u32,
    /// How many follow one another.
    pub count: u32,
}

/// Ids inside a sandbox and the ids that the caller sees for them on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// User ids.
    pub users: Vec<IdRange>,
    /// Group ids.
    pub groups: Vec<IdRange>,
}

impl IdMap {
    /// The user id inside of what the caller sees as `uid`; `None` where nobody inside has it.
    #[must_use]
    pub fn to_inside(&self, uid: u32) -> Option<u32> {
        inward(&self.users, uid)
    }

    /// The user id that the caller sees for `uid` inside.
    #[must_use]
    pub fn to_outside(&self, uid: u32) -> Option<u32> {
        outward(&self.users, uid)
    }

    /// The group id inside of what the caller sees as `gid`.
    #[must_use]
    pub fn group_to_inside(&self, gid: u32) -> Option<u32> {
        inward(&self.groups, gid)
    }

    /// The group id that the caller sees for `gid` inside.
    #[must_use]
    pub fn group_to_outside(&self, gid: u32) -> Option<u32> {
        outward(&self.groups, gid)
    }
}

fn inward(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        id.checked_sub(range.outside).filter(|offset| *offset < range.count).map(|o| range.inside + o)
    })
}

fn outward(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        id.checked_sub(range.inside).filter(|offset| *offset < range.count).map(|o| range.outside + o)
    })
}

/// How a map gets into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The supervisor writes `/proc/PID/uid_map` itself.
    Supervisor,
    /// The set-user-id programs `newuidmap` and `newgidmap` do.
    Helpers,
}

/// A map to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) writer: Writer,
    pub(crate) map: IdMap,
    /// Whether groups can be changed inside: the kernel demands that a lone user gives that up.
    pub(crate) setgroups: bool,
    /// What is lost against the best map, for the caller to read.
    pub(crate) notice: Option<&'static str>,
}

/// What the ids depend on: who starts the sandbox and what the machine grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grants {
    pub(crate) privileged: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The caller's own user namespace: its ids are what can be handed on.
    pub(crate) users: Vec<IdRange>,
    pub(crate) groups: Vec<IdRange>,
    /// First id and count from `/etc/subuid`, where `newuidmap` exists.
    pub(crate) sub_users: Option<(u32, u32)>,
    pub(crate) sub_groups: Option<(u32, u32)>,
}

/// The maps to try, best first; never empty.
pub(crate) fn candidates(grants: &Grants) -> Vec<Candidate> {
    if grants.privileged {
        let users = high_range(&grants.users, grants.uid);
        let groups = high_range(&grants.groups, grants.gid);
        let notice = (users.outside == grants.uid).then_some(
            "root inside is the caller itself: the caller's own user namespace has no other id to give",
        );
        return vec![Candidate {
            writer: Writer::Supervisor,
            map: IdMap { users: vec![users], groups: vec![groups] },
            setgroups: true,
            notice,
        }];
    }
    let lone = |id| IdRange { inside: 0, outside: id, count: 1 };
    let mut list = Vec::new();
    if let (Some(users), Some(groups)) = (grants.sub_users, grants.sub_groups) {
        let further = |(start, count): (u32, u32)| IdRange {
            inside: 1,
            outside: start,
            count: count.min(ID_COUNT - 1),
        };
        list.push(Candidate {
            writer: Writer::Helpers,
            map: IdMap {
                users: vec![lone(grants.uid), further(users)],
                groups: vec![lone(grants.gid), further(groups)],
            },
            setgroups: true,
            notice: None,
        });
    }
    list.push(Candidate {
        writer: Writer::Supervisor,
        map: IdMap { users: vec![lone(grants.uid)], groups: vec![lone(grants.gid)] },
        setgroups: false,
        notice: Some(
            "only one user id exists inside: no range of ids could be had from newuidmap and /etc/subuid",
        ),
    });
    list
}

/// The range for a sandbox that root starts: the usual one where the caller's namespace has it, else the end of the
/// widest range there is, never its lower half, where the accounts of the machine are.
fn high_range(own: &[IdRange], own_id: u32) -> IdRange {
    let bounds =
        |range: &IdRange| (u64::from(range.inside), u64::from(range.inside) + u64::from(range.count));
    let wanted = (u64::from(HIGH_BASE), u64::from(HIGH_BASE) + u64::from(ID_COUNT));
    if own.iter().map(bounds).any(|(start, end)| start <= wanted.0 && wanted.1 <= end) {
        return IdRange { inside: 0, outside: HIGH_BASE, count: ID_COUNT };
    }
    let widest = own.iter().max_by_key(|range| range.count);
    match widest {
        Some(range) if range.count > 1 => {
            let count = ID_COUNT.min(range.count / 2);
            IdRange { inside: 0, outside: range.inside + (range.count - count), count }
        }
        _ => IdRange { inside: 0, outside: own_id, count: 1 },
    }
}

/// Reads `/proc/PID/uid_map` or `gid_map`; lines that are no range are passed over.
pub(crate) fn parse_map(text: &str) -> Vec<IdRange> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            let range = IdRange {
                inside: numbers.next()?.ok()?,
                outside: numbers.next()?.ok()?,
                count: numbers.next()?.ok()?,
            };
            Some(range)
        })
        .collect()
}

/// The widest range that `/etc/subuid` or `/etc/subgid` gives to the account, by name or by number.
pub(crate) fn parse_subordinate(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let start = fields.next()?.parse::<u32>().ok()?;
            let count = fields.next()?.parse::<u32>().ok()?;
            start.checked_add(count)?;
            ((Some(owner) == name || owner == number) && count > 0).then_some((start, count))
        })
        .max_by_key(|(_, count)| *count)
}

/// The name of an account in the text of `/etc/passwd`.
pub(crate) fn account_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    fn grants(privileged: bool, uid: u32, own: IdRange) -> Grants {
        Grants {
            privileged,
            uid,
            gid: uid,
            users: vec![own],
            groups: vec![own],
            sub_users: None,
            sub_groups: None,
        }
    }

    #[test]
    fn root_gets_high_ids_and_less_where_its_namespace_has_less() {
        let check = |own: IdRange, expect: IdRange| {
            let list = candidates(&grants(true, 0, own));
            assert_eq!(list.len(), 1);
            assert_eq!(list[0].map.users, [expect], "own {own:?}");
            assert_eq!(list[0].notice.is_some(), expect.outside == 0);
        };
        check(range(0, 0, u32::MAX), range(0, HIGH_BASE, ID_COUNT));
        check(range(0, 100_000, 65_536), range(0, 32_768, 32_768));
        check(range(0, 100_000, 1_000_000), range(0, 934_464, 65_536));
        check(range(0, 1000, 1), range(0, 0, 1));
    }

    #[test]
    fn a_user_is_root_inside_and_has_more_ids_only_where_granted() {
        let mut user = grants(false, 1000, range(0, 0, u32::MAX));
        let list = candidates(&user);
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].map.users, [range(0, 1000, 1)]);
        assert!(!list[0].setgroups && list[0].notice.is_some());

        user.sub_users = Some((100_000, 65_536));
        user.sub_groups = Some((200_000, 10));
        let list = candidates(&user);
        assert_eq!(list.len(), 2, "the lone id stays as the last resort");
        assert_eq!(list[0].writer, Writer::Helpers);
        assert_eq!(list[0].map.users, [range(0, 1000, 1), range(1, 100_000, 65_535)]);
        assert_eq!(list[0].map.groups, [range(0, 1000, 1), range(1, 200_000, 10)]);
    }

    #[test]
    fn ids_translate_both_ways() {
        let map =
            IdMap { users: vec![range(0, 1000, 1), range(1, 100_000, 65_535)], groups: vec![range(0, 7, 2)] };
        for (inside, outside) in [(0, 1000), (1, 100_000), (65_535, 165_534)] {
            assert_eq!(map.to_outside(inside), Some(outside));
            assert_eq!(map.to_inside(outside), Some(inside));
        }
        assert_eq!(map.to_inside(0), None);
        assert_eq!(map.to_outside(65_536), None);
        assert_eq!((map.group_to_inside(8), map.group_to_outside(1)), (Some(1), Some(8)));
    }

    #[test]
    fn files_of_the_machine_are_read_with_patience() {
        assert_eq!(parse_map("         0          0 4294967295\n"), [range(0, 0, u32::MAX)]);
        assert_eq!(parse_map("0 1000\nx y z\n1 100000 65536\n"), [range(1, 100_000, 65_536)]);
        let subuid = "# x\nann:100000:65536\n1000:300000:70000\nbob:1:2\nann:4294967295:9\n";
        assert_eq!(parse_subordinate(subuid, Some("ann"), 1), Some((100_000, 65_536)));
        assert_eq!(parse_subordinate(subuid, Some("ann"), 1000), Some((300_000, 70_000)));
        assert_eq!(parse_subordinate(subuid, None, 5), None);
        assert_eq!(account_name("root:x:0:0::/:/bin/sh\nann:x:1000:1::/:/x\n", 1000), Some("ann"));
        assert_eq!(account_name("broken\n", 0), None);
    }
}
