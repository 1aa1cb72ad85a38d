use super::archiver::{Step, compress};
use super::*;

const TASK: TaskId = TaskId(1);
const ATTEMPT: AttemptId = AttemptId(2);

#[tokio::test]
async fn pieces_land_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 100);
    // (offset, bytes, offset afterwards, whether it grew)
    for (offset, bytes, expect, grew) in [
        (0, "hello ", 6, true),
        (0, "hello ", 6, false),
        (3, "lo world", 11, true),
        (20, "gap", 11, false),
        (11, "", 11, false),
        (u64::MAX, "x", 11, false),
    ] {
        let appended = logs.append(TASK, ATTEMPT, offset, bytes.as_bytes()).await.unwrap();
        assert_eq!(appended, Appended { offset: expect, grew, full: false }, "{offset} {bytes:?}");
    }
    let again = Logs::new(folder.path(), 100);
    assert_eq!(again.resume(TASK, ATTEMPT).await.unwrap(), 11);
    assert_eq!(again.append(TASK, ATTEMPT, 11, b"!").await.unwrap().offset, 12, "a restart goes on");
    assert_eq!(again.read(TASK, ATTEMPT, 6).await.unwrap(), b"world!");
    assert_eq!(again.read(TASK, AttemptId(3), 0).await.unwrap(), b"");
    assert_eq!(again.size_bytes(TASK, ATTEMPT).await, 12);
}

#[tokio::test]
async fn a_log_is_cut_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 8);
    let appended = logs.append(TASK, ATTEMPT, 0, b"0123456789").await.unwrap();
    assert_eq!(appended, Appended { offset: 8, grew: true, full: true });
    let appended = logs.append(TASK, ATTEMPT, 10, b"more").await.unwrap();
    assert_eq!(appended, Appended { offset: 8, grew: false, full: true });
    assert_eq!(logs.usage(), Usage { logs: 1, stored_bytes: 8 });
}

#[tokio::test]
async fn many_small_pieces_are_acknowledged_together_and_only_once_they_are_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 1 << 20);
    let line = b"0123456789".repeat(10);
    let mut later = Vec::new();
    for number in 0..200_u64 {
        let written = logs.write(TASK, ATTEMPT, number * 100, line.clone()).await.unwrap();
        match written.acknowledge {
            Acknowledge::Later(kept) => later.push(kept),
            Acknowledge::WithAnother => {}
            Acknowledge::Now(offset) => panic!("{offset} is not on the disk"),
        }
    }
    assert!(later.len() < 150, "groups are made: {} of 200", later.len());
    let mut last = 0;
    for kept in later {
        let offset = kept.offset().await.unwrap();
        assert!(offset >= last && logs.size_bytes(TASK, ATTEMPT).await >= offset);
        last = offset;
    }
    // A piece that came before is answered with what is kept, a gap as well.
    assert_eq!(logs.append(TASK, ATTEMPT, 0, &line).await.unwrap().offset, 20_000);
    assert_eq!(last, 20_000);
}

#[tokio::test]
async fn a_follower_is_told_what_is_on_the_disk_and_that_nothing_more_comes() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 1000);
    let mut growth = logs.growth(TASK, ATTEMPT);
    logs.append(TASK, ATTEMPT, 0, b"one\n").await.unwrap();
    assert_eq!(*growth.wait_for(|size| *size == Some(4)).await.unwrap(), Some(4));
    logs.close(ATTEMPT).await;
    assert!(growth.wait_for(|size| *size == Some(5)).await.is_err());
}

#[tokio::test]
async fn an_ended_log_is_compressed_and_reads_the_same_at_every_offset() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 1 << 30);
    let text: Vec<u8> =
        (0..60_000).flat_map(|line| format!("==> phase p{}\nline {line}\n", line % 3).into_bytes()).collect();
    let mut offset = 0;
    for piece in text.chunks(100_000) {
        offset = logs.append(TASK, ATTEMPT, offset, piece).await.unwrap().offset;
    }
    let before = logs.with_outline(TASK, ATTEMPT, |_, outline| Ok(outline.lines())).await.unwrap();
    logs.close(ATTEMPT).await;
    logs.archive(TASK, ATTEMPT).await.unwrap();
    assert!(!logs.path(TASK, ATTEMPT).exists());
    let stored = fs_err::metadata(logs.archived_path(TASK, ATTEMPT)).unwrap().len();
    assert!(stored * 5 < offset, "{stored} of {offset}");
    assert_eq!(logs.usage(), Usage { logs: 1, stored_bytes: stored });
    let end = usize::try_from(offset).unwrap();
    for begin in [0, 1, 99_999, 262_143, 262_144, end - 1, end, end + 1] {
        let bytes = logs.read(TASK, ATTEMPT, u64::try_from(begin).unwrap()).await.unwrap();
        let expect = text.get(begin..).unwrap_or_default();
        assert!(expect.starts_with(&bytes) && bytes.is_empty() == expect.is_empty(), "{begin}");
    }
    let lines = logs.with_outline(TASK, ATTEMPT, |reader, outline| {
        assert_eq!(reader.line_at(outline, 700_000)?, reader.line_at(outline, 700_000)?);
        let begin = reader.offset_of_line(outline, 50_000)?;
        assert_eq!(reader.line_at(outline, begin)?, 50_000);
        Ok(outline.lines())
    });
    assert_eq!(lines.await.unwrap(), before);
    // Whoever is late is told to send nothing more, and changes nothing.
    let late = logs.append(TASK, ATTEMPT, offset, b"late").await.unwrap();
    assert_eq!(late, Appended { offset, grew: false, full: true });
    assert_eq!(logs.size_bytes(TASK, ATTEMPT).await, offset);
    assert!(!logs.path(TASK, ATTEMPT).exists());
}

#[tokio::test]
async fn killed_at_every_step_of_compressing_no_byte_is_lost() {
    let text: Vec<u8> = (0..30_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let steps = [Step::Write, Step::Sync, Step::ReadBack, Step::Rename, Step::SyncFolder, Step::RemovePlain];
    for killed_at in steps {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), 1 << 30);
        logs.append(TASK, ATTEMPT, 0, &text).await.unwrap();
        let (plain, archived) = (logs.path(TASK, ATTEMPT), logs.archived_path(TASK, ATTEMPT));
        let mut stop = |step| match step == killed_at {
            true => Err(io::Error::other("killed")),
            false => Ok(()),
        };
        compress(&plain, &archived, &mut stop).unwrap_err();
        // Another Summit finds what there is.
        let logs = Logs::new(folder.path(), 1 << 30);
        assert_eq!(whole(&logs).await, text, "{killed_at:?}");
        logs.look_around().await.unwrap();
        assert_eq!(logs.plain(), [(TASK, ATTEMPT)], "{killed_at:?}");
        logs.archive(TASK, ATTEMPT).await.unwrap();
        assert_eq!(whole(&logs).await, text, "{killed_at:?}");
        let names: Vec<_> =
            fs_err::read_dir(plain.parent().unwrap()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(names, [archived], "{killed_at:?}");
    }
}

#[tokio::test]
async fn a_compressed_log_that_cannot_be_read_back_does_not_replace_the_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 1 << 30);
    logs.append(TASK, ATTEMPT, 0, &b"some text of a log\n".repeat(1000)).await.unwrap();
    let (plain, archived) = (logs.path(TASK, ATTEMPT), logs.archived_path(TASK, ATTEMPT));
    let mut damage = |step| {
        if step == Step::ReadBack {
            let mut names = fs_err::read_dir(folder.path().join("1"))?.map(|file| file.unwrap().path());
            let part = names.find(|path| path.extension().is_some_and(|suffix| suffix == "part")).unwrap();
            let mut bytes = fs_err::read(&part)?;
            bytes[20] ^= 1;
            fs_err::write(&part, bytes)?;
        }
        Ok(())
    };
    compress(&plain, &archived, &mut damage).unwrap_err();
    assert!(plain.exists() && !archived.exists());
}

#[tokio::test]
async fn a_leftover_of_another_summit_never_replaces_a_log_that_is_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 1 << 30);
    let text = b"some text of a log\n".repeat(1000);
    logs.append(TASK, ATTEMPT, 0, &text).await.unwrap();
    logs.archive(TASK, ATTEMPT).await.unwrap();
    // One that was stopped for a while makes the file anew and writes what it has in hand.
    fs_err::write(logs.path(TASK, ATTEMPT), vec![0; 500]).unwrap();
    let logs = Logs::new(folder.path(), 1 << 30);
    logs.look_around().await.unwrap();
    logs.archive(TASK, ATTEMPT).await.unwrap();
    assert_eq!(whole(&logs).await, text);
    assert!(!logs.path(TASK, ATTEMPT).exists());
}

#[tokio::test]
async fn a_forgotten_log_leaves_nothing_and_those_of_other_attempts_stay() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::new(folder.path(), 1000);
    logs.append(TASK, ATTEMPT, 0, b"first\n").await.unwrap();
    logs.archive(TASK, ATTEMPT).await.unwrap();
    logs.append(TASK, AttemptId(3), 0, b"second\n").await.unwrap();
    logs.forget(TASK, ATTEMPT).await.unwrap();
    assert_eq!(logs.read(TASK, ATTEMPT, 0).await.unwrap(), b"");
    assert_eq!(logs.read(TASK, AttemptId(3), 0).await.unwrap(), b"second\n");
    assert_eq!(logs.usage(), Usage { logs: 1, stored_bytes: 7 });
    logs.forget(TASK, AttemptId(3)).await.unwrap();
    logs.forget(TASK, AttemptId(3)).await.unwrap();
    assert_eq!(logs.usage(), Usage::default());
    assert!(!folder.path().join("1").exists());
}

async fn whole(logs: &Logs) -> Vec<u8> {
    logs.with_reader(TASK, ATTEMPT, |reader| reader.read_range(0, u64::MAX)).await.unwrap()
}
