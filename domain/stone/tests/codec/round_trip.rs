//! What is written comes back.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::collection::vec;
use proptest::prelude::*;
use stone::{
    Attribute, Digest, Entry, EntryFile, FileType, Limits, Packing, Record, Slice, Stone, Value, Writer,
};

use crate::decode_within;

/// Writes a stone with its content.
pub(crate) fn encode(stone: &Stone, content: &[u8], packing: Packing) -> Vec<u8> {
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), stone.file_type, packing).unwrap();
    writer.records_of(stone).unwrap();
    if !stone.index.is_empty() {
        writer.content(u64::try_from(content.len()).unwrap(), content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Reads a file, writes what was read, and reads that: it must be the same.
pub(crate) fn rewrites(bytes: &[u8], limits: &Limits) {
    let (stone, keep) = decode_within(bytes, limits).unwrap();
    let mut content = vec![0; usize::try_from(stone.content_bytes).unwrap()];
    let files: BTreeMap<Digest, Vec<u8>> = keep.files.iter().cloned().collect();
    for slice in &stone.index {
        let range = usize::try_from(slice.start).unwrap()..usize::try_from(slice.end).unwrap();
        content[range].copy_from_slice(&files[&slice.digest]);
    }
    let again = encode(&stone, &content, Packing::FAST);
    assert_eq!(decode_within(&again, &Limits::default()).unwrap(), (stone, keep));
}

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,20}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        text().prop_map(Value::Text),
        (any::<u8>(), text()).prop_map(|(kind, name)| Value::Dependency { kind, name }),
        (any::<u8>(), text()).prop_map(|(kind, name)| Value::Provider { kind, name }),
        (12_u8..=255, vec(any::<u8>(), 0..20))
            .prop_map(|(type_number, bytes)| Value::Opaque { type_number, bytes }),
    ]
}

fn metas() -> impl Strategy<Value = Vec<Vec<Record>>> {
    vec(vec((any::<u16>(), value()).prop_map(|(tag, value)| Record { tag, value }), 0..8), 0..4)
}

/// What an entry of the generated layout is; a number chooses among the files of the content.
#[derive(Debug, Clone)]
enum Shape {
    Regular(prop::sample::Index),
    Other(EntryFile),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        4 => any::<prop::sample::Index>().prop_map(Shape::Regular),
        2 => "[^\0]{1,20}".prop_map(|text| Shape::Other(EntryFile::Symlink(text))),
        1 => prop_oneof![
            Just(EntryFile::Directory),
            Just(EntryFile::CharacterDevice),
            Just(EntryFile::BlockDevice),
            Just(EntryFile::Fifo),
            Just(EntryFile::Socket),
        ]
        .prop_map(Shape::Other),
    ]
}

/// A whole stone and its content.
fn stone() -> impl Strategy<Value = (Stone, Vec<u8>)> {
    let files = vec(vec(any::<u8>(), 0..3000), 0..6);
    // Every component ends in a letter of its depth, so that no file is another one's folder.
    let targets = vec(("[a-zé.-]{0,3}x(/[a-z]{0,3}y){0,2}/[a-z0-9ü]{1,4}z", shape()), 0..8);
    let attributes = vec(
        (vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9)).prop_map(|(key, value)| Attribute { key, value }),
        0..3,
    );
    let file_type = prop::sample::select(FileType::ALL.to_vec());
    (file_type, metas(), files, targets, attributes, any::<(u32, u32, u32)>()).prop_map(
        |(file_type, metas, files, targets, attributes, (uid, gid, mode))| {
            let files: BTreeMap<Digest, Vec<u8>> =
                files.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect();
            let mut content = Vec::new();
            let mut index = Vec::new();
            for (&digest, bytes) in &files {
                let start = content.len() as u64;
                content.extend(bytes);
                index.push(Slice { start, end: content.len() as u64, digest });
            }
            let targets: BTreeMap<String, Shape> = targets.into_iter().collect();
            let layout = targets
                .into_iter()
                .filter_map(|(target, shape)| {
                    let file = match shape {
                        Shape::Other(file) => file,
                        Shape::Regular(_) if index.is_empty() => return None,
                        Shape::Regular(which) => EntryFile::Regular(which.get(&index).digest),
                    };
                    Some(Entry { uid, gid, mode, target, file })
                })
                .collect();
            let content_bytes = content.len() as u64;
            (Stone { file_type, metas, layout, index, attributes, content_bytes }, content)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_and_read((stone, content) in stone(), packed in any::<bool>()) {
        let packing = if packed { Packing::FAST } else { Packing::None };
        let bytes = encode(&stone, &content, packing);
        prop_assert_eq!(&bytes, &encode(&stone, &content, packing), "the same values give the same bytes");
        let (read, keep) = decode_within(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!(&read, &stone);
        for (digest, bytes) in &keep.files {
            prop_assert_eq!(Digest::of(bytes), *digest);
        }
        prop_assert_eq!(keep.files.len(), stone.index.len());
        rewrites(&bytes, &Limits::default());
    }

    #[test]
    fn any_bytes_after_a_true_header((stone, content) in stone(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&stone, &content, Packing::FAST);
        prop_assert!(decode_within(&bytes[..cut.index(bytes.len())], &Limits::default()).is_err());
    }
}
