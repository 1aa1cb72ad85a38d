//! Turns a recipe into packages in a sandbox.
