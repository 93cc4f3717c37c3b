from codesign.search import stock_ax
from tests.support.suites.proposer import ProposerSuite


class TestAx(ProposerSuite):
    def make(self, objectives):
        return stock_ax.make(objectives, stock_ax.Options())
