"""The limits of verdicts, from unseen cases as they are and spoiled on purpose."""
