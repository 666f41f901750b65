"""One run: kernel, host, module and scenario together, the guest's administrator, the verdict."""
