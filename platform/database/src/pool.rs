//! Pools of connections with settings.

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection};

/// A pool whose connections have these settings. What hinders the first one is told at once: the pool itself would only say,
/// at its time limit, that it had none.
pub(crate) async fn open(
    url: &str,
    settings: &'static str,
    options: AnyPoolOptions,
) -> sqlx::Result<AnyPool> {
    let first = async {
        let mut connection = AnyConnection::connect(url).await?;
        sqlx::raw_sql(settings).execute(&mut connection).await?;
        connection.close().await
    };
    tokio::time::timeout(options.get_acquire_timeout(), first)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    options
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::raw_sql(settings).execute(connection).await.map(drop) })
        })
        // SQLite undoes a whole transaction by itself when the disk is full, which the driver does not notice: it goes on
        // counting it, and every later transaction on that connection would fail. Another connection takes over.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .connect(url)
        .await
}
