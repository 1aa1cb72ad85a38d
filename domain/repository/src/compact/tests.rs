use std::collections::BTreeSet;

use package::{Dependency, DependencyKind, PackageMeta};
use proptest::prelude::*;

use super::*;
use crate::index::tests::meta;
use crate::layout::package_uri;

/// A package with something in every field, that lies where packages lie.
fn full(name: &str) -> PackageMeta {
    let named = |kind, name: &str| Dependency::new(kind, name);
    let mut package = PackageMeta {
        version: "1.2.3-rc1".into(),
        summary: format!("What {name} is"),
        description: "Lines\nof ünïcode".into(),
        source_id: "source".into(),
        homepage: "https://example.org/".into(),
        licenses: vec!["MIT".into(), "MPL-2.0".into()],
        depends: [named(DependencyKind::Soname, "libc.so.6(x86_64)"), named(DependencyKind::Name, "zlib")]
            .into(),
        provides: [named(DependencyKind::Binary, name)].into(),
        conflicts: [named(DependencyKind::Name, "other")].into(),
        hash: Some("0123456789abcdef".repeat(4)),
        download_size_bytes: Some(1 << 33),
        ..meta(name, 300, 2)
    };
    package.uri = Some(package_uri(&package));
    package
}

fn without_texts(package: &PackageMeta) -> PackageMeta {
    PackageMeta {
        summary: String::new(),
        description: String::new(),
        homepage: String::new(),
        licenses: Vec::new(),
        ..package.clone()
    }
}

#[test]
fn written_and_read() {
    let all = [full("zlib"), full("acl"), meta("moved", 1, 1)];
    let image = image(&all).unwrap();
    let mut read = packages(&image).unwrap();
    assert_eq!(read, [without_texts(&all[1]), without_texts(&all[2]), without_texts(&all[0])]);
    add_texts(&mut read, &texts(&all).unwrap()).unwrap();
    assert_eq!(read, [all[1].clone(), all[2].clone(), all[0].clone()]);
    assert_eq!(unpack(&pack(&image), IMAGE_BYTES_MAX, "it").unwrap(), image);
}

#[test]
fn no_packages_at_all() {
    let image = image(&[]).unwrap();
    assert_eq!(packages(&image).unwrap(), []);
    add_texts(&mut [], &texts(&[]).unwrap()).unwrap();
    assert_eq!(unpack(&pack(&image), IMAGE_BYTES_MAX, "it").unwrap(), image);
    assert_eq!(unpack(&pack(&[]), 0, "it").unwrap(), b"");
}

#[test]
fn more_packages_than_a_stone_index_can_hold() {
    let all: Vec<PackageMeta> = (0..70_000).map(|number| meta(&format!("package-{number}"), 1, 1)).collect();
    assert_eq!(packages(&image(&all).unwrap()).unwrap().len(), 70_000);
}

#[test]
fn the_order_of_the_packages_does_not_matter() {
    let (one, other) = ([full("a"), full("b")], [full("b"), full("a")]);
    assert_eq!(image(&one).unwrap(), image(&other).unwrap());
    assert_eq!(texts(&one).unwrap(), texts(&other).unwrap());
}

#[test]
fn a_delta_makes_the_next_image() {
    let mut all: Vec<PackageMeta> = (0..500).map(|number| full(&format!("package-{number}"))).collect();
    let old = image(&all).unwrap();
    all[250].release += 1;
    all[250].hash = Some("f".repeat(64));
    all.remove(17);
    all.push(full("quite-new"));
    let new = image(&all).unwrap();
    let delta = delta(&old, &new);
    assert_eq!(apply(&old, &delta).unwrap(), new);
    let whole = pack(&new);
    assert!(delta.len() < 600, "the delta has {} bytes, the whole index {}", delta.len(), whole.len());

    let error = apply(&new, &delta).unwrap_err();
    assert!(matches!(error, CompactError::OtherBase { .. }), "{error}");
    assert_eq!(error.hints(), ["fetch the whole index"]);
}

#[test]
fn a_damaged_delta_makes_nothing() {
    let old = image(&[full("a"), full("b")]).unwrap();
    let new = image(&[full("a"), full("c")]).unwrap();
    let delta = delta(&old, &new);
    for at in 0..delta.len() {
        assert!(apply(&old, &delta[..at]).is_err(), "cut at {at}");
        let mut damaged = delta.clone();
        damaged[at] ^= 1;
        // A bit of the frame's header may say the same in other words; then the result is still the right one.
        if let Ok(made) = apply(&old, &damaged) {
            assert_eq!(made, new, "byte {at}");
        }
    }
    let followed = [delta.as_slice(), b"more"].concat();
    assert!(matches!(apply(&old, &followed), Err(CompactError::Damaged { .. })));
}

#[test]
fn a_promised_result_is_checked() {
    let (old, new) = (image(&[full("a")]).unwrap(), image(&[full("b")]).unwrap());
    let mut delta = delta(&old, &new);
    delta[DELTA_HEADER_BYTES - 1] ^= 1;
    assert!(matches!(apply(&old, &delta), Err(CompactError::OtherResult { .. })));
}

#[test]
fn what_is_cut_is_refused() {
    let image = image(&[full("a"), full("b")]).unwrap();
    let texts = texts(&[full("a"), full("b")]).unwrap();
    for at in 0..image.len() {
        assert!(packages(&image[..at]).is_err(), "cut at {at}");
    }
    for at in 0..texts.len() {
        assert!(add_texts(&mut [full("a"), full("b")], &texts[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_claim_of_many_packages_takes_no_memory() {
    let mut claimed = Vec::from(IMAGE_MAGIC);
    claimed.push(FORMAT);
    put_number(&mut claimed, u64::MAX);
    for number in 1..=12 {
        claimed.push(number);
        put_bytes(&mut claimed, b"");
    }
    assert!(matches!(packages(&claimed), Err(CompactError::Damaged { .. })));
}

#[test]
fn a_frame_that_grows_beyond_the_limit_is_refused() {
    let packed = pack(&vec![0; 1 << 20]);
    assert!(packed.len() < 200);
    let error = unpack(&packed, (1 << 20) - 1, "an index").unwrap_err();
    assert_eq!(error.to_string(), "cannot read an index: it is longer than 1048575 bytes");
}

#[test]
fn a_column_of_a_later_version_is_passed_over() {
    let mut image = image(&[full("a")]).unwrap();
    image.push(40);
    put_bytes(&mut image, b"something new");
    assert_eq!(packages(&image).unwrap(), [without_texts(&full("a"))]);
}

#[test]
fn bad_indexes_are_refused_by_what_is_wrong() {
    let twice = [full("a"), full("a")];
    assert!(matches!(image(&twice), Err(CompactError::DuplicatePackage { .. })));
    assert!(matches!(texts(&twice), Err(CompactError::DuplicatePackage { .. })));
    let no_hash = PackageMeta { hash: None, ..full("a") };
    let error = image(&[no_hash]).unwrap_err();
    assert_eq!(error.to_string(), "cannot accept package \"a\" in a compact index: it has no hash");

    // Names of one length can be exchanged in place.
    let sound = image(&[full("aa"), full("bb")]).unwrap();
    let named = |first: &[u8], second: &[u8]| {
        let mut changed = sound.clone();
        let at = changed.windows(6).position(|bytes| bytes == b"\x02aa\x02bb").unwrap();
        changed[at + 1..at + 3].copy_from_slice(first);
        changed[at + 4..at + 6].copy_from_slice(second);
        packages(&changed).map(|packages| packages.len())
    };
    assert_eq!(named(b"aa", b"bb").unwrap(), 2);
    assert!(matches!(named(b"bb", b"bb"), Err(CompactError::DuplicatePackage { .. })));
    assert!(matches!(named(b"bb", b"aa"), Err(CompactError::Damaged { .. })));
    assert!(matches!(named(b"..", b"bb"), Err(CompactError::Meta { .. })));
    assert!(matches!(named(b"a\xff", b"bb"), Err(CompactError::Damaged { .. })));
    assert!(matches!(packages(b"MRNI\x02\x00"), Err(CompactError::Magic { .. })));

    let mut others = [full("a")];
    assert!(matches!(add_texts(&mut others, &texts(&[]).unwrap()), Err(CompactError::Damaged { .. })));
}

#[test]
fn numbers_of_every_length() {
    for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        let mut column = Vec::new();
        put_number(&mut column, number);
        let image = [IMAGE_MAGIC.as_slice(), &[FORMAT], &column].concat();
        assert_eq!(Columns::read(&image, IMAGE_MAGIC, "it").unwrap().0, number);
    }
    for too_large in [[0xff; 10].as_slice(), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"] {
        let image = [IMAGE_MAGIC.as_slice(), &[FORMAT], too_large].concat();
        assert!(Columns::read(&image, IMAGE_MAGIC, "it").is_err());
    }
}

fn any_package() -> impl Strategy<Value = PackageMeta> {
    let dependency = ("[a-z]{1,8}", 0_u8..4)
        .prop_map(|(name, kind)| Dependency::new(DependencyKind::from_number(kind).unwrap(), name));
    let dependencies = proptest::collection::btree_set(dependency, 0..4);
    (
        "[a-z][a-z0-9+-]{0,12}",
        "[0-9][0-9.]{0,6}",
        any::<u64>(),
        any::<u64>(),
        dependencies,
        any::<[u8; 32]>(),
        ".{0,20}",
    )
        .prop_map(|(name, version, release, size, depends, hash, summary)| PackageMeta {
            version,
            release,
            summary,
            depends,
            hash: Some(hex(&hash)),
            download_size_bytes: Some(size),
            ..meta(&name, 1, 1)
        })
}

proptest! {
    #[test]
    fn any_packages_come_back(list in proptest::collection::vec(any_package(), 0..20)) {
        let names: BTreeSet<String> = list.iter().map(|package| package.name.clone()).collect();
        prop_assume!(names.len() == list.len());
        let mut read = packages(&image(&list).unwrap()).unwrap();
        add_texts(&mut read, &texts(&list).unwrap()).unwrap();
        let mut wanted = list;
        wanted.sort_by(|left, right| left.name.cmp(&right.name));
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn foreign_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in 0..3_usize) {
        let magic = [IMAGE_MAGIC, TEXTS_MAGIC, DELTA_MAGIC][magic];
        let bytes = [magic.as_slice(), &[FORMAT], &bytes].concat();
        std::hint::black_box((
            packages(&bytes).is_ok(),
            add_texts(&mut [full("a")], &bytes).is_ok(),
            apply(&bytes, &bytes).is_ok(),
            unpack(&bytes, 1 << 16, "it").is_ok(),
        ));
    }

    #[test]
    fn a_changed_byte_does_no_harm(at in any::<proptest::sample::Index>(), bits in 1_u8..) {
        let mut bytes = image(&[full("a"), full("b"), full("c")]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(packages) = packages(&bytes) {
            // Another release or size is no contradiction; the digest of the whole image finds it.
            prop_assert!(packages.iter().all(|package| package.check().is_ok()));
        }
    }
}
