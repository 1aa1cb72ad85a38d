//! ELF files: the libraries they are and need, their interpreter, build id and debug information.

use std::io::Read;
use std::path::Path;

use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef, StringTable, elf as format};
use package::{Dependency, DependencyKind};

use super::Facts;

/// Entries of one dynamic table that are read; the longest real ones have a few hundred.
const DYNAMIC_ENTRIES_MAX: usize = 65_536;
/// Bytes of one `.interp` section; a path.
const INTERPRETER_BYTES_MAX: u64 = 4096;

/// What an ELF file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElfFacts {
    /// Instruction set as it is written in names: `x86_64`, `386`, `aarch64`, `riscv`.
    pub machine: String,
    /// Whether it is of the 64-bit class.
    pub is_64_bit: bool,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RUNPATH` and `DT_RPATH`, split at colons.
    pub run_paths: Vec<String>,
    /// `PT_INTERP`.
    pub interpreter: Option<String>,
    /// GNU build id in lower-case hex.
    pub build_id: Option<String>,
    /// Whether it has a `.debug_info` section.
    pub has_debug_info: bool,
}

/// Reads what the file at `path` says of itself; `None` where it is no ELF file.
///
/// # Errors
/// When it begins as one but does not hold together; the text says where.
pub fn read(path: &Path) -> Result<Option<ElfFacts>, String> {
    let mut file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let mut identification = [0; 5];
    match file.read_exact(&mut identification) {
        Ok(()) if identification[..4] == format::ELFMAG => {}
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.to_string()),
    }
    let cache = ReadCache::new(file.into_parts().0);
    let facts = match identification[4] {
        1 => parse::<format::FileHeader32<Endianness>, _>(&cache),
        2 => parse::<format::FileHeader64<Endianness>, _>(&cache),
        class => return Err(format!("its class is {class}, neither 32 nor 64 bits")),
    };
    facts.map(Some).map_err(|error| error.to_string())
}

fn parse<'data, Elf, R>(data: R) -> object::Result<ElfFacts>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let mut facts = ElfFacts {
        machine: machine_name(header.e_machine(endian)),
        is_64_bit: header.is_class_64(),
        ..ElfFacts::default()
    };
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == format::PT_INTERP {
            let (offset, size) = segment.file_range(endian);
            let bytes = data.read_bytes_at(offset, size.min(INTERPRETER_BYTES_MAX)).unwrap_or_default();
            facts.interpreter = Some(text(bytes.split(|byte| *byte == 0).next().unwrap_or_default()));
        }
        if facts.build_id.is_none()
            && let Some(mut notes) = segment.notes(endian, data)?
        {
            while let Ok(Some(note)) = notes.next() {
                if note.name() == format::ELF_NOTE_GNU && note.n_type(endian) == format::NT_GNU_BUILD_ID {
                    facts.build_id = Some(note.desc().iter().map(|byte| format!("{byte:02x}")).collect());
                }
            }
        }
    }
    let sections = header.sections(endian, data)?;
    facts.has_debug_info =
        sections.iter().any(|section| sections.section_name(endian, section) == Ok(b".debug_info"));
    if let Some((entries, link)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        read_dynamic::<Elf, R>(entries, endian, strings, &mut facts);
    }
    // A relocatable object keeps its build id only in a section.
    if facts.build_id.is_none() {
        for section in sections.iter().filter(|section| section.sh_type(endian) == format::SHT_NOTE) {
            let Some(mut notes) = section.notes(endian, data)? else { continue };
            while let Ok(Some(note)) = notes.next() {
                if note.name() == format::ELF_NOTE_GNU && note.n_type(endian) == format::NT_GNU_BUILD_ID {
                    facts.build_id = Some(note.desc().iter().map(|byte| format!("{byte:02x}")).collect());
                }
            }
        }
    }
    Ok(facts)
}

fn read_dynamic<'data, Elf, R>(
    entries: &'data [Elf::Dyn],
    endian: Endianness,
    strings: StringTable<'data, R>,
    facts: &mut ElfFacts,
) where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    for entry in entries.iter().take(DYNAMIC_ENTRIES_MAX) {
        let tag = entry.d_tag(endian);
        if tag == format::DT_NULL {
            break;
        }
        let string =
            || u32::try_from(entry.d_val(endian).into()).ok().and_then(|at| strings.get(at).ok()).map(text);
        match tag {
            format::DT_NEEDED => facts.needed.extend(string()),
            format::DT_SONAME => facts.soname = string(),
            format::DT_RUNPATH | format::DT_RPATH => {
                let paths = string().unwrap_or_default();
                facts.run_paths.extend(paths.split(':').filter(|path| !path.is_empty()).map(str::to_owned));
            }
            _ => {}
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of `e_machine` without `EM_`, in lower case.
fn machine_name(machine: format::Machine) -> String {
    let known = match machine {
        format::EM_X86_64 => "x86_64",
        format::EM_386 => "386",
        format::EM_AARCH64 => "aarch64",
        format::EM_ARM => "arm",
        format::EM_RISCV => "riscv",
        format::EM_PPC64 => "ppc64",
        format::EM_S390 => "s390",
        format::EM_LOONGARCH => "loongarch",
        format::EM_BPF => "bpf",
        other => return format!("machine-{}", other.0),
    };
    known.to_owned()
}

/// Adds what the file at `path` offers and needs. `exists` answers for absolute paths of the new system.
pub(super) fn add_facts(path: &str, elf: &ElfFacts, exists: &dyn Fn(&str) -> bool, facts: &mut Facts) {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let tagged = |name: &str| format!("{name}({})", elf.machine);
    for needed in &elf.needed {
        let private = std::iter::once(directory.to_owned())
            .chain(elf.run_paths.iter().map(|run_path| absolute(run_path, directory)))
            .map(|place| format!("{place}/{needed}"))
            .find(|place| exists(place));
        let name = private.as_deref().and_then(below_library_directory).unwrap_or(needed);
        facts.depends.insert(Dependency::new(DependencyKind::Soname, tagged(name)));
    }
    if let Some(interpreter) = &elf.interpreter {
        facts.depends.insert(Dependency::new(DependencyKind::Interpreter, tagged(interpreter)));
    }
    let file_name = path.rsplit('/').next().unwrap_or(path);
    if !file_name.contains(".so") {
        return;
    }
    let soname = elf.soname.as_deref().unwrap_or(file_name);
    let subdirectory = below_library_directory(directory).filter(|below| !below.is_empty());
    let offered = subdirectory.map_or_else(|| soname.to_owned(), |below| format!("{below}/{soname}"));
    facts.provides.insert(Dependency::new(DependencyKind::Soname, tagged(&offered)));
    if soname.starts_with("ld-") && directory.starts_with("/usr/lib") {
        for place in interpreter_paths(soname, path, elf.is_64_bit) {
            facts.provides.insert(Dependency::new(DependencyKind::Interpreter, tagged(&place)));
            facts.provides.insert(Dependency::new(DependencyKind::Soname, tagged(&place)));
        }
    }
}

/// The paths by which programs ask for this dynamic loader: through the links of a merged `/usr`, and where it lies.
fn interpreter_paths(soname: &str, path: &str, is_64_bit: bool) -> Vec<String> {
    let directories: &[&str] =
        if is_64_bit { &["/usr/lib64", "/lib64", "/lib"] } else { &["/usr/lib", "/lib32", "/lib"] };
    let mut paths: Vec<String> =
        directories.iter().map(|directory| format!("{directory}/{soname}")).collect();
    paths.push(path.to_owned());
    paths
}

/// What follows the library directory, `/usr/lib` or one like it: `systemd/libx.so` of `/usr/lib/systemd/libx.so`.
fn below_library_directory(path: &str) -> Option<&str> {
    let mut parts = path.splitn(4, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), Some("usr"), Some(_)) => Some(parts.next().unwrap_or("")),
        _ => None,
    }
}

/// A run path with `$ORIGIN` replaced and `.` and `..` taken out.
fn absolute(run_path: &str, directory: &str) -> String {
    let replaced = run_path.replace("${ORIGIN}", directory).replace("$ORIGIN", directory);
    let mut parts: Vec<&str> = Vec::new();
    for part in replaced.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(path: &str, elf: &ElfFacts, existing: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut facts = Facts::default();
        add_facts(path, elf, &|place| existing.contains(&place), &mut facts);
        let texts =
            |set: &std::collections::BTreeSet<Dependency>| set.iter().map(ToString::to_string).collect();
        (texts(&facts.provides), texts(&facts.depends))
    }

    fn x86_64() -> ElfFacts {
        ElfFacts { machine: "x86_64".into(), is_64_bit: true, ..ElfFacts::default() }
    }

    #[test]
    fn a_program_needs_its_libraries_and_interpreter() {
        let elf = ElfFacts {
            needed: vec!["libc.so.6".into()],
            interpreter: Some("/lib64/ld-linux-x86-64.so.2".into()),
            ..x86_64()
        };
        let (provides, depends) = facts_of("/usr/bin/hello", &elf, &[]);
        assert!(provides.is_empty());
        assert_eq!(
            depends,
            ["interpreter(/lib64/ld-linux-x86-64.so.2(x86_64))", "soname(libc.so.6(x86_64))"]
        );
    }

    #[test]
    fn a_library_provides_its_soname_with_the_directory_it_is_private_to() {
        let elf = ElfFacts { soname: Some("libbz2.so.1.0".into()), ..x86_64() };
        for (path, expected) in [
            ("/usr/lib/libbz2.so.1.0.8", "soname(libbz2.so.1.0(x86_64))"),
            ("/usr/lib/systemd/libbz2.so.1.0.8", "soname(systemd/libbz2.so.1.0(x86_64))"),
        ] {
            assert_eq!(facts_of(path, &elf, &[]).0, [expected]);
        }
        let unnamed = facts_of("/usr/lib/plugins/x.so", &x86_64(), &[]).0;
        assert_eq!(unnamed, ["soname(plugins/x.so(x86_64))"]);
    }

    #[test]
    fn a_private_library_is_needed_by_its_place() {
        let elf = ElfFacts {
            needed: vec!["libsystemd-shared-257.so".into(), "libc.so.6".into()],
            run_paths: vec!["$ORIGIN/../lib/systemd".into()],
            ..x86_64()
        };
        let (_, depends) =
            facts_of("/usr/bin/systemctl", &elf, &["/usr/lib/systemd/libsystemd-shared-257.so"]);
        assert_eq!(
            depends,
            ["soname(libc.so.6(x86_64))", "soname(systemd/libsystemd-shared-257.so(x86_64))"]
        );
    }

    #[test]
    fn the_loader_provides_every_path_it_is_asked_by() {
        let elf = ElfFacts { soname: Some("ld-linux-x86-64.so.2".into()), ..x86_64() };
        let (provides, _) = facts_of("/usr/lib/ld-linux-x86-64.so.2", &elf, &[]);
        for expected in [
            "interpreter(/lib64/ld-linux-x86-64.so.2(x86_64))",
            "interpreter(/usr/lib/ld-linux-x86-64.so.2(x86_64))",
            "soname(/lib64/ld-linux-x86-64.so.2(x86_64))",
            "soname(ld-linux-x86-64.so.2(x86_64))",
        ] {
            assert!(provides.iter().any(|found| found == expected), "{expected} is missing in {provides:?}");
        }
    }

    #[test]
    fn the_running_test_is_read_as_what_it_is() {
        let own = read(&std::env::current_exe().unwrap()).unwrap().expect("an ELF file");
        assert!(own.needed.iter().any(|name| name.starts_with("libc.so")), "{own:?}");
        assert!(own.interpreter.is_some());
    }

    #[test]
    fn other_files_and_damaged_ones_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs_err::write(&path, bytes).unwrap();
            read(&path)
        };
        assert_eq!(check("empty", b""), Ok(None));
        assert_eq!(check("script", b"#!/bin/sh\n"), Ok(None));
        assert!(check("torn", b"\x7fELF\x02\x01\x01 and nothing more").is_err());
        assert!(check("class", b"\x7fELF\x07").is_err());
    }

    #[test]
    fn no_mutation_of_a_real_file_panics() {
        let original = fs_err::read("/bin/true").unwrap_or_default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutant");
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..300 {
            let mut bytes = original.clone();
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let length = bytes.len().min(4096);
                if let Some(byte) =
                    bytes[..length].get_mut(usize::try_from(state >> 8).unwrap() % length.max(1))
                {
                    *byte = state.to_be_bytes()[0];
                }
            }
            fs_err::write(&path, &bytes).unwrap();
            drop(read(&path));
        }
    }
}
