//! Who may do what, and uploads that break off, lie or lead elsewhere.

use std::time::Duration;

use wire::Identity;
use wire::tonic::{Code, Status};
use wire::vessel::{
    ArtefactKind, ChannelRequest, CommitRequest, ExpectRequest, LandingRequest, LandingState, OffsetRequest,
    PutChunk, WithdrawRequest,
};

use crate::fixture::{Delivery, Program, Running, artefact, chunks, offset, put};
use crate::import::read_as_a_client;
use testkit::packages::meta;

fn check<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{status}");
}

#[tokio::test]
async fn what_was_ordered_is_published_and_told() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let builder = Identity::generate().unwrap();
    let channel = |name: &str| ChannelRequest { channel: name.into() };
    let empty = vessel.hub_client().await.channel(channel("main")).await.unwrap().into_inner();
    assert_eq!((empty.history.as_str(), empty.index_path.as_str()), ("", ""));
    check(vessel.hub_client().await.channel(channel("other")).await, Code::NotFound, "channel \"other\"");
    assert_eq!(vessel.landing(1).await.state(), LandingState::Unknown);

    let delivery = Delivery::new(1, meta("nano", "nano", 1), &[7; 5000]);
    let history = vessel.deliver(&builder, &delivery).await.unwrap();
    let landing = vessel.landing(1).await;
    assert_eq!((landing.state(), &landing.history), (LandingState::Landed, &history));
    let told = vessel.client(&builder).await.channel(channel("main")).await.unwrap().into_inner();
    assert_eq!(told.history, history);
    assert_eq!(told.index_path, format!("main/history/{history}/x86_64/stone.index"));
    assert!(data.path().join("public").join(&told.index_path).exists());
    assert_eq!(told.public_base_url, format!("http://{}", vessel.addresses.http));
    assert_eq!(vessel.deliver(&builder, &delivery).await.unwrap(), history, "all of it again");
    let whole = u64::try_from(delivery.files[0].1.len()).unwrap();
    assert_eq!(offset(&mut vessel.client(&builder).await, 1, &delivery.files[0].1).await.unwrap(), whole);
    vessel.stop().await;
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_stopped_even_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let builder = Identity::generate().unwrap();
    // Bytes that do not compress.
    let content: Vec<u8> =
        (0..40_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let delivery = Delivery::new(1, meta("nano", "nano", 1), &content);
    let (package, manifest) = (&delivery.files[0].1, &delivery.files[1].1);
    vessel.hub_client().await.expect(delivery.request(&builder)).await.unwrap();
    let mut client = vessel.client(&builder).await;
    assert_eq!(offset(&mut client, 1, package).await.unwrap(), 0);
    // The stream ends in the middle.
    let some: Vec<PutChunk> = chunks(1, package, 0, 10_000).into_iter().take(3).collect();
    assert_eq!(client.put(tokio_stream::iter(some)).await.unwrap().into_inner().size_bytes, 30_000);
    assert_eq!(vessel.landing(1).await.state(), LandingState::Receiving);
    check(client.commit(CommitRequest { attempt_id: 1 }).await, Code::FailedPrecondition, "0 of");
    // From the wrong place: refused, and nothing is lost.
    check(put(&mut client, 1, package, 0, 10_000).await, Code::FailedPrecondition, "30000 bytes are here");
    check(
        put(&mut client, 1, package, 40_000, 10_000).await,
        Code::FailedPrecondition,
        "30000 bytes are here",
    );

    let hub = vessel.stop().await;
    let vessel = Running::start_for(data.path(), hub).await;
    let mut client = vessel.client(&builder).await;
    assert_eq!(offset(&mut client, 1, package).await.unwrap(), 30_000);
    put(&mut client, 1, manifest, 0, 1000).await.unwrap();
    let whole = u64::try_from(package.len()).unwrap();
    assert_eq!(put(&mut client, 1, package, 30_000, 1 << 20).await.unwrap(), whole);
    client.commit(CommitRequest { attempt_id: 1 }).await.unwrap();
    vessel.stop().await;
}

#[tokio::test]
async fn a_builder_brings_what_it_was_ordered_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let (builder, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let delivery = Delivery::new(1, meta("nano", "nano", 1), b"one");
    let (package, manifest) = (&delivery.files[0].1, &delivery.files[1].1);
    let mut hub = vessel.hub_client().await;
    // Unknown keys reach nothing at all.
    check(
        vessel.client(&builder).await.commit(CommitRequest { attempt_id: 1 }).await,
        Code::PermissionDenied,
        "not known",
    );
    hub.expect(delivery.request(&builder)).await.unwrap();
    hub.expect(Delivery::new(2, meta("less", "less", 1), b"x").request(&other)).await.unwrap();
    // Another builder's attempt.
    let mut stranger = vessel.client(&other).await;
    check(put(&mut stranger, 1, package, 0, 1000).await, Code::PermissionDenied, "another one");
    check(offset(&mut stranger, 1, package).await, Code::PermissionDenied, "another one");
    check(stranger.commit(CommitRequest { attempt_id: 1 }).await, Code::PermissionDenied, "another one");
    check(put(&mut stranger, 9, package, 0, 1000).await, Code::NotFound, "attempt 9");
    // What only the hub may.
    let mut client = vessel.client(&builder).await;
    check(client.expect(delivery.request(&builder)).await, Code::PermissionDenied, "only the hub");
    check(client.withdraw(WithdrawRequest { attempt_id: 2 }).await, Code::PermissionDenied, "only the hub");
    check(client.landing(LandingRequest { attempt_id: 1 }).await, Code::PermissionDenied, "only the hub");
    // What was not announced, and digests that are paths.
    check(put(&mut client, 1, b"something else", 0, 1000).await, Code::PermissionDenied, "not announced");
    for sha256 in ["../../../../etc/passwd", "", "é", &"A".repeat(64), &"x".repeat(100_000)] {
        let chunk = PutChunk { attempt_id: 1, sha256: sha256.into(), offset: 0, bytes: b"x".to_vec() };
        check(client.put(tokio_stream::iter([chunk])).await, Code::PermissionDenied, "not announced");
        let request = OffsetRequest { attempt_id: 1, sha256: sha256.into() };
        check(client.offset(request).await, Code::PermissionDenied, "not announced");
    }
    // More than announced, too much at once, two artefacts in one call, nothing at all.
    let mut longer = chunks(1, package, 0, 1000);
    longer.last_mut().unwrap().bytes.push(0);
    check(client.put(tokio_stream::iter(longer)).await, Code::InvalidArgument, "announced with");
    let mut large = chunks(1, package, 0, 1000);
    large[0].bytes = vec![0; (1 << 20) + 1];
    check(client.put(tokio_stream::iter(large)).await, Code::InvalidArgument, "at most 1048576");
    let mixed = chunks(1, manifest, 0, 1000).into_iter().chain(chunks(1, package, 0, 1000));
    check(
        client.put(tokio_stream::iter(mixed.collect::<Vec<_>>())).await,
        Code::InvalidArgument,
        "another artefact",
    );
    check(client.put(tokio_stream::iter(Vec::new())).await, Code::InvalidArgument, "none came");
    // And still the right bytes land.
    let here = usize::try_from(offset(&mut client, 1, package).await.unwrap()).unwrap();
    put(&mut client, 1, package, here, 1000).await.unwrap();
    client.commit(CommitRequest { attempt_id: 1 }).await.unwrap();
    vessel.stop().await;
}

#[tokio::test]
async fn a_wrong_digest_is_thrown_away() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let builder = Identity::generate().unwrap();
    let delivery = Delivery::new(1, meta("nano", "nano", 1), b"one");
    let package = &delivery.files[0].1;
    vessel.hub_client().await.expect(delivery.request(&builder)).await.unwrap();
    let mut client = vessel.client(&builder).await;
    let mut wrong = chunks(1, package, 0, 1 << 20);
    *wrong[0].bytes.last_mut().unwrap() ^= 1;
    check(client.put(tokio_stream::iter(wrong)).await, Code::DataLoss, "has digest");
    assert_eq!(offset(&mut client, 1, package).await.unwrap(), 0);
    vessel.deliver(&builder, &delivery).await.unwrap();
    vessel.stop().await;
}

#[tokio::test]
async fn orders_that_cannot_land_are_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let builder = Identity::generate().unwrap();
    vessel.deliver(&builder, &Delivery::new(1, meta("nano", "nano", 5), b"five")).await.unwrap();
    let mut hub = vessel.hub_client().await;
    let older = Delivery::new(2, meta("nano", "nano", 4), b"four").request(&builder);
    check(hub.expect(older).await, Code::FailedPrecondition, "release 5 build 1 is published");
    let same = Delivery::new(2, meta("nano", "nano", 5), b"other").request(&builder);
    check(
        hub.expect(same).await,
        Code::FailedPrecondition,
        "nano release 5 build 1: it is published with other bytes",
    );
    let fine = Delivery::new(2, meta("nano", "nano", 6), b"six").request(&builder);
    type Change = fn(&mut ExpectRequest);
    let changes: [(&str, Code, Change); 7] = [
        ("source \"../nano\"", Code::InvalidArgument, |it| it.source = "../nano".into()),
        ("channel \"other\"", Code::NotFound, |it| it.channel = "other".into()),
        ("channel \"../main\"", Code::InvalidArgument, |it| it.channel = "../main".into()),
        ("builder key", Code::InvalidArgument, |it| it.builder_key = "me".into()),
        ("digest of", Code::InvalidArgument, |it| it.artefacts[0].sha256 = "../../x".into()),
        ("kind of", Code::InvalidArgument, |it| it.artefacts[0].kind = 77),
        ("no package", Code::InvalidArgument, |it| {
            it.artefacts = vec![artefact(ArtefactKind::Record, "record.json", b"{}")];
        }),
    ];
    for (words, code, change) in changes {
        let mut request = fine.clone();
        change(&mut request);
        check(hub.expect(request).await, code, words);
    }
    hub.expect(fine.clone()).await.unwrap();
    hub.expect(fine.clone()).await.unwrap();
    let mut other = fine;
    other.task_id = 99;
    check(hub.expect(other).await, Code::FailedPrecondition, "another task");
    vessel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_goes_on_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let (hub, builder) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    for (release, milliseconds) in (1..).zip([0, 1, 2, 4, 8, 16, 32]) {
        let delivery = Delivery::new(release, meta("nano", "nano", release), &[7; 100_000]);
        let package = &delivery.files[0].1;
        let program = Program::start(data.path(), &hub);
        program.client(&hub).await.expect(delivery.request(&builder)).await.unwrap();
        let mut client = program.client(&builder).await;
        // Half of it, and a kill in the middle of the upload.
        let half: Vec<PutChunk> =
            chunks(release, package, 0, package.len() / 2).into_iter().take(1).collect();
        client.put(tokio_stream::iter(half)).await.unwrap();
        program.kill();

        let program = Program::start(data.path(), &hub);
        let mut client = program.client(&builder).await;
        let here = offset(&mut client, release, package).await.unwrap();
        assert_eq!(here, u64::try_from(package.len() / 2).unwrap(), "what was acknowledged is there");
        put(&mut client, release, package, package.len() / 2, 1000).await.unwrap();
        put(&mut client, release, &delivery.files[1].1, 0, 1000).await.unwrap();
        // And a kill in the middle of the landing, at different moments.
        let commit = CommitRequest { attempt_id: release };
        let committing = tokio::spawn(async move { client.commit(commit).await });
        drop(tokio::time::timeout(Duration::from_millis(milliseconds), std::future::pending::<()>()).await);
        program.kill();
        let answered = committing.await.unwrap();
        let (old, new) = (format!("nano@{}", release - 1), vec![format!("nano@{release}")]);
        let found = read_as_a_client(data.path());
        if answered.is_ok() {
            assert_eq!(found, Some(new.clone()), "what was acknowledged is published");
        }
        assert!(found.as_ref().is_none_or(|found| *found == new || *found == [old]), "{found:?}");

        let program = Program::start(data.path(), &hub);
        program.client(&builder).await.commit(commit).await.unwrap();
        assert_eq!(read_as_a_client(data.path()), Some(new));
        program.kill();
    }
}
