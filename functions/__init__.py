"""The Lambda functions, a folder each, in the order in which a photo meets them: submit, poll, finalize."""
