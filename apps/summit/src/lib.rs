//! Controller: watches recipes, plans, hands builds out, keeps logs and history.
