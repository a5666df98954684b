//! Data on disk, and erasing the data of a tenant.

mod purge;
