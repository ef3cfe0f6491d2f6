import pytest
pytestmark = pytest.mark.chaos
def test_smoke(site):
    site.worker().ready()
    site.one_of_each(3)
    site.enqueue("die_once"); site.enqueue("poison")
    assert site.settle_down(40), site.logs()
    site.demand_kept_promises()
def test_proxy(proxied_site):
    s=proxied_site
    s.worker(dsn=s.through_proxy()).ready()
    s.one_of_each(3)
    assert s.settle_down(40), s.logs()
    s.demand_kept_promises()
