"""The endpoints: for each a function of a `call.Call` that returns JSON values or a response."""
