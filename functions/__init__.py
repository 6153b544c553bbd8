"""The Lambda functions, in the order in which a photo meets them: submit, poll, finalize."""
