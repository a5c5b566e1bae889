from fix import ROOT, fix
fix("runtime/process.py", "def patience(self, tries", "def backoff(self, tries")
p = ROOT / "tests/unit/test_rate_limiter.py"; p.write_text(p.read_text().replace("low_priority=behind", "low_priority=low_priority"))
