//! What a server of PostgreSQL adds to what a file does: turns among programs, and a connection that can be lost.
#![expect(clippy::unwrap_used, reason = "a test's own way to fail")]

use std::path::Path;
use std::time::{Duration, Instant};

use database::sqlx::{self, Row};
use database::{Address, Database, DatabaseError, Migration};
use fault::{Fault, Kind};
use testkit::Postgres;

const THINGS: &[Migration] = &[Migration {
    number: 1,
    name: "things",
    sql: "CREATE TABLE thing (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, weight REAL, \
          picture BLOB) STRICT",
}];

fn address(text: &str) -> Address {
    Address::parse(text, Path::new("/")).unwrap()
}

async fn open(postgres: &Postgres) -> Database {
    Database::open_at(&address(&postgres.database()), THINGS).await.unwrap()
}

async fn add(database: &Database, name: &str) -> Result<u64, DatabaseError> {
    database.change(sqlx::query("INSERT INTO thing (name) VALUES ($1)").bind(name), "add a thing").await
}

async fn names(database: &Database) -> Vec<String> {
    let rows = sqlx::query("SELECT name FROM thing ORDER BY name").fetch_all(database.pool()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    let Some(postgres) = Postgres::shared() else { return };
    let database = open(postgres).await;
    let statement =
        sqlx::query("INSERT INTO thing (name, weight, picture) VALUES ($1, $2, $3), ('b', $4, NULL)")
            .bind("ü")
            .bind(1.5_f64)
            .bind(vec![0_u8, 255])
            .bind(None::<f64>);
    assert_eq!(database.change(statement, "add things").await.unwrap(), 2);
    let rows = sqlx::query("SELECT * FROM thing ORDER BY name").fetch_all(database.pool()).await.unwrap();
    // By byte, as in SQLite; a dictionary would order them otherwise.
    assert_eq!(rows.iter().map(|row| row.get::<String, _>("name")).collect::<Vec<_>>(), ["b", "ü"]);
    assert_eq!(rows[1].get::<f64, _>("weight"), 1.5);
    assert_eq!(rows[1].get::<Vec<u8>, _>("picture"), [0, 255]);
    assert_eq!(rows[0].get::<Option<f64>, _>("weight"), None);
    assert_eq!(rows[0].get::<i64, _>("id"), 2);
    database.close().await;
}

#[tokio::test]
async fn writers_of_several_programs_take_turns_and_readers_do_not_wait() {
    let Some(postgres) = Postgres::shared() else { return };
    let one = open(postgres).await;
    let two = Database::open_at(one.address(), THINGS).await.unwrap();
    let mut first = one.write().await.unwrap();
    sqlx::query("INSERT INTO thing (name) VALUES ('a')").execute(&mut *first).await.unwrap();
    let waiting = tokio::spawn({
        let two = two.clone();
        async move { add(&two, "b").await }
    });
    assert!(names(&two).await.is_empty(), "a reader waits for nobody");
    assert!(!waiting.is_finished());
    first.commit().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(names(&one).await, ["a", "b"]);
    drop(one.write().await.unwrap());
    let aside = sqlx::query("INSERT INTO thing (name) VALUES ('c')").execute(two.pool()).await;
    assert!(aside.is_err(), "what reads cannot write");
    assert_eq!(add(&two, "b").await.unwrap_err().kind(), Kind::Conflict);
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_writer_that_stands_still_does_not_hold_up_others_for_long() {
    let Some(postgres) = Postgres::shared() else { return };
    let one = open(postgres).await;
    let two = Database::open_at(one.address(), THINGS).await.unwrap();
    let mut stuck = one.write().await.unwrap();
    sqlx::query("INSERT INTO thing (name) VALUES ('a')").execute(&mut *stuck).await.unwrap();
    let begin = Instant::now();
    add(&two, "b").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert!(stuck.commit().await.is_err(), "its transaction is gone");
    assert_eq!(names(&two).await, ["b"]);
    add(&one, "c").await.unwrap();
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let Some(postgres) = Postgres::start() else { return };
    let database = open(&postgres).await;
    add(&database, "a").await.unwrap();
    postgres.stop();
    let error = add(&database, "b").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    let error = Database::open_at(database.address(), THINGS).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    assert!(!error.hints().is_empty());
    postgres.start_again();
    add(&database, "c").await.unwrap();
    assert_eq!(names(&database).await, ["a", "c"]);
    database.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_named() {
    let Some(postgres) = Postgres::shared() else { return };
    let good = postgres.database();
    let missing = good.replace("postgres:///", "postgres:///missing_");
    let error = Database::open_at(&address(&missing), THINGS).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    assert!(error.hints()[0].starts_with("make the database"), "{:?}", error.hints());
    let stranger = good.replace("user=moraine", "user=stranger");
    let error = Database::open_at(&address(&stranger), THINGS).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error:?}");
    // A socket has no TLS, and an address that asks for it must not do without.
    let protected = format!("{good}&sslmode=require");
    Database::open_at(&address(&protected), THINGS).await.unwrap_err();
}

#[tokio::test]
async fn a_server_is_held_to_its_certificate() {
    let Some((postgres, tls)) = Postgres::start_with_tls() else { return };
    let database = postgres.database();
    let trusting = |authority: &Path| {
        tls.over_tcp(&database, &format!("sslmode=verify-full&sslrootcert={}", authority.display()))
    };
    let open = async |text: &str| Database::open_at(&address(text), THINGS).await;
    let opened = open(&trusting(&tls.trusted)).await.unwrap();
    add(&opened, "over TLS").await.unwrap();
    let row = sqlx::query(
        "SELECT CASE WHEN ssl THEN 1 ELSE 0 END AS ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    );
    assert_eq!(row.fetch_one(opened.pool()).await.unwrap().get::<i32, _>("ssl"), 1);
    opened.close().await;

    let error = open(&trusting(&tls.other)).await.unwrap_err();
    let told = format!("{} {:?}", fault::chain(&error).join(": "), error.hints());
    assert_eq!(error.kind(), Kind::Denied, "{told}");
    assert!(told.contains("certificate") && told.contains("sslrootcert"), "{told}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_asked_for() {
    let Some(postgres) = Postgres::shared() else { return };
    // Over a socket of the machine there is none.
    let error =
        Database::open_at(&address(&format!("{}&sslmode=require", postgres.database())), THINGS).await;
    let told = fault::chain(&error.unwrap_err()).join(": ");
    assert!(told.contains("TLS") || told.contains("SSL"), "{told}");
}
