//! Whether a copy leaves the storage system of its volume: one that stays in it is lost with it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Where a copy lies, seen from its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// In the volume's own storage system: lost with that.
    StorageSystem,
    /// Outside of it, as an object store is.
    Outside,
    /// This version does not know the driver.
    #[default]
    Unknown,
}

/// Drivers whose snapshots share blocks, a pool or a disk with their volume.
const INSIDE: [&str; 9] = [
    "rbd.csi.ceph.com",
    "cephfs.csi.ceph.com",
    "nfs.csi.ceph.com",
    "topolvm.io",
    "topolvm.cybozu.com",
    "hostpath.csi.k8s.io",
    "zfs.csi.openebs.io",
    "local.csi.openebs.io",
    "nfs.csi.k8s.io",
];

/// Drivers whose snapshots the provider stores apart from its disks: EBS in S3 ("Amazon EBS snapshots", AWS), Google's in
/// Cloud Storage ("About disk snapshots", Google Cloud).
const OUTSIDE: [&str; 2] = ["ebs.csi.aws.com", "pd.csi.storage.gke.io"];

impl Location {
    /// Of copies that a VolumeSnapshotClass with this driver and these parameters makes.
    pub fn of(driver: &str, parameters: &BTreeMap<String, String>) -> Self {
        // Rook puts the namespace of its operator before Ceph's drivers.
        let is = |known: &str| driver == known || driver.ends_with(&format!(".{known}"));
        if driver == "driver.longhorn.io" {
            // Without a type Longhorn makes a backup: it uploads to its backup target (longhorn.io, CSI snapshot support).
            return match parameters.get("type").map(String::as_str) {
                None | Some("bak") => Self::Outside,
                Some("snap" | "bi") => Self::StorageSystem,
                Some(_) => Self::Unknown,
            };
        }
        if INSIDE.iter().any(|known| is(known)) {
            Self::StorageSystem
        } else if OUTSIDE.contains(&driver) {
            Self::Outside
        } else {
            Self::Unknown
        }
    }

    /// What it means, of copies in the plural.
    pub fn means(self) -> &'static str {
        match self {
            Self::StorageSystem => "stay in the storage system of the claims, and are lost with it",
            Self::Outside => "leave the storage system of the claims",
            Self::Unknown => "may stay in the storage system of the claims: count them as lost with it",
        }
    }
}

/// A line for each driver and place.
pub fn lines<'a>(copies: impl Iterator<Item = (Location, &'a str)>) -> Vec<String> {
    let of: BTreeSet<(Location, &str)> = copies.collect();
    of.into_iter().map(|(location, driver)| format!("the copies by {driver} {}", location.means())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_is_told_once() {
        let inside = (Location::StorageSystem, "rbd.csi.ceph.com");
        let told = lines([inside, (Location::Unknown, "x"), inside].into_iter());
        assert_eq!(told.len(), 2);
        assert_eq!(
            told[0],
            "the copies by rbd.csi.ceph.com stay in the storage system of the claims, and are lost with it"
        );
    }

    fn of(driver: &str, kind: Option<&str>) -> Location {
        Location::of(driver, &kind.map(|kind| ("type".to_owned(), kind.to_owned())).into_iter().collect())
    }

    #[test]
    fn ceph_keeps_its_copies_whatever_rook_names_its_driver() {
        for driver in ["rbd.csi.ceph.com", "rook-ceph.rbd.csi.ceph.com", "storage.cephfs.csi.ceph.com"] {
            assert_eq!(of(driver, None), Location::StorageSystem, "{driver}");
        }
        assert_eq!(of("notrbd.csi.ceph.com", None), Location::Unknown);
    }

    #[test]
    fn longhorns_class_decides() {
        assert_eq!(of("driver.longhorn.io", None), Location::Outside);
        assert_eq!(of("driver.longhorn.io", Some("bak")), Location::Outside);
        assert_eq!(of("driver.longhorn.io", Some("snap")), Location::StorageSystem);
        assert_eq!(of("driver.longhorn.io", Some("new")), Location::Unknown);
    }

    #[test]
    fn of_an_unknown_driver_nothing_is_claimed() {
        assert_eq!(of("ebs.csi.aws.com", None), Location::Outside);
        assert_eq!(of("some.driver", Some("bak")), Location::Unknown);
    }
}
