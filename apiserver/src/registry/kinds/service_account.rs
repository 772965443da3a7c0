//! ServiceAccount: who pods are.

use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell};
use super::row;
use crate::registry::strategy::{Column, Strategy};

/// ServiceAccounts of the core group.
#[derive(Debug)]
pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    row!("", "v1", "serviceaccounts");

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Age")] }
    }

    fn row(&self, account: &Value, now: i64) -> Vec<Value> {
        vec![name_cell(account), age_cell(account, now)]
    }
}
