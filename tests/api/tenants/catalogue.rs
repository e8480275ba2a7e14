//! What PostgreSQL's catalogue says of the tables: the database itself keeps tenants apart.

use sqlx::PgPool;

use crate::support::{TestApp, test_database};

/// Tables of the whole installation, without users' data.
const OF_ALL_TENANTS: [&str; 4] = ["_sqlx_migrations", "embedding_state", "processes", "schedule"];

/// Keys and indexes that do not begin with the tenant, and columns of the tenant that are not as they should be.
async fn faults(db: &PgPool) -> Vec<String> {
    let faults = "
        select format('the index %s of %s does not begin with the tenant', i.relname, t.relname)
        from pg_index x
        join pg_class i on i.oid = x.indexrelid
        join pg_am m on m.oid = i.relam
        join pg_class t on t.oid = x.indrelid
        join pg_attribute a on a.attrelid = t.oid and a.attname = 'tenant_id'
        where t.relnamespace = 'public'::regnamespace and (x.indisunique or m.amname = 'btree')
          and x.indkey[0] <> a.attnum
        union all
        select format('the constraint %s of %s does not begin with the tenant on both sides', c.conname, t.relname)
        from pg_constraint c
        join pg_class t on t.oid = c.conrelid
        join pg_attribute here on here.attrelid = c.conrelid and here.attnum = c.conkey[1]
        join pg_attribute there on there.attrelid = c.confrelid and there.attnum = c.confkey[1]
        where c.connamespace = 'public'::regnamespace and c.contype = 'f'
          and (here.attname <> 'tenant_id' or there.attname <> 'tenant_id')
        union all
        select format('the table %s has no tenant', t.relname)
        from pg_class t
        where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p') and t.relname <> all($1)
          and not exists (
              select from pg_attribute a where a.attrelid = t.oid and a.attname = 'tenant_id' and not a.attisdropped
          )
        union all
        select format('the tenant of %s may be null, has a default, or is not text collate \"C\"', t.relname)
        from pg_attribute a
        join pg_class t on t.oid = a.attrelid
        left join pg_collation c on c.oid = a.attcollation
        where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p') and a.attname = 'tenant_id'
          and (not a.attnotnull or a.atthasdef or a.atttypid <> 'text'::regtype or c.collname <> 'C')
        order by 1";
    sqlx::query_scalar(faults).bind(OF_ALL_TENANTS).fetch_all(db).await.unwrap()
}

#[tokio::test]
async fn every_key_and_index_begins_with_the_tenant() {
    let db = test_database().await.pool();
    assert_eq!(faults(&db).await, [""; 0]);
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert!(tables > 15, "{tables} tables");
}

#[tokio::test]
async fn what_does_not_begin_with_the_tenant_is_seen() {
    let app = TestApp::start().await;
    app.execute(
        "create table public.one (tenant_id text collate \"C\" not null, id bigint primary key);
         create table public.two (tenant_id text collate \"C\" not null, id bigint unique, of bigint references public.one (id));
         create index three on public.runs (run_id);
         create table public.four (id bigint);
         create table public.five (tenant_id text collate \"C\" default 'default', id bigint);
         create table public.six (id bigint, tenant_id text not null, primary key (tenant_id, id))",
    )
    .await;
    assert_eq!(
        faults(app.db()).await,
        [
            "the constraint two_of_fkey of two does not begin with the tenant on both sides",
            "the index one_pkey of one does not begin with the tenant",
            "the index three of runs does not begin with the tenant",
            "the index two_id_key of two does not begin with the tenant",
            "the table four has no tenant",
            "the tenant of five may be null, has a default, or is not text collate \"C\"",
            "the tenant of six may be null, has a default, or is not text collate \"C\"",
        ]
    );
}
