//! From tenant to tenant, for sweeps over all of them.

/// Selects up to `$limit` tenants after `$after` that have rows of `$table` for which `$condition` holds. It finds each by
/// one step in an index that begins with `tenant_id`, however many rows a tenant has.
macro_rules! tenants_with {
    ($table:literal, $condition:literal, $after:expr, $limit:expr) => {
        sqlx::query_scalar!(
            "
            with recursive tenant as (
                (
                    select tenant_id from "
                + $table
                + " where tenant_id > $1 and "
                + $condition
                + "
                    order by tenant_id
                    limit 1
                )
                union all
                select (
                    select next.tenant_id from "
                + $table
                + " next where next.tenant_id > tenant.tenant_id and "
                + $condition
                + r#"
                    order by next.tenant_id
                    limit 1
                )
                from tenant
                where tenant.tenant_id is not null
            )
            select tenant_id as "tenant_id!" from tenant where tenant_id is not null limit $2
            "#,
            $after,
            $limit,
        )
    };
}
pub(crate) use tenants_with;
