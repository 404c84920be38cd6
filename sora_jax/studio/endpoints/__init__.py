"""The endpoints: one function for each, from a `call.Call` to JSON values or a response."""
