window.contractProbe = true;
