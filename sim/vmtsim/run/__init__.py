"""One run: kernel, host, module and scenario combined, the guest's administrator, the verdict."""
